"""What an instruction asks for: its root verb and that verb's object, by a light heuristic for English.

Self-Instruct (arXiv 2212.10560, section 3.1, figure 3) shows the diversity of its data by root verbs and direct
objects, which it takes from a neural constituency parser. Here a few rules and a word list do, in microseconds and
without a model:

1. The first sentence that asks for something is read: an imperative ("Rewrite …", "Please list …", "Given a
   text, find …"), a wish ("I want you to …", "Your task is to …"), or a question.
2. An imperative's verb is the sentence's first word. It must be a known verb, or be followed by what begins an
   object (an article, a pronoun, a number), so that verbs missing from the list are found as well.
3. A question's verb is the main verb after the auxiliary ("How long does sunlight *need* …"); "be" where there is no
   other ("What is the difference …").
4. The object is the last noun of the phrase behind the verb; a pronoun is none.

Where it errs: a situation told in the imperative, a verb it takes for a noun ("What does a good *plan cost*"), and
any other language than English, for which it mostly finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootVerb:
    """A verb in its base form, lower case, and the head noun of its object (singular, lower case) or None."""

    verb: str
    object: str | None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERBS = _words(
    """
    abbreviate accept accuse achieve act adapt add address adjust advertise advise affect agree aim allocate allow
    alphabetize amend amount analyse analyze annotate announce answer anticipate apologise apologize appeal appear
    append apply appraise approach approve argue arrange articulate ask assemble assess assign assist associate
    assume attach attend audit author avoid await bake balance ban base be become begin behave believe belong blame
    boil book borrow brainstorm break breathe bring broaden brush budget build burn buy calculate call calm cancel
    capitalize care carry cast catch categorise categorize cause celebrate challenge change characterize charge
    chart chat check cheer choose circle cite claim clarify classify clean cleanse clear close coach code coin
    collaborate collect colour combine come comment communicate compare compile complain complement complete
    compliment compose comprehend compress compute conceive concentrate conclude condense conduct confirm conjugate
    connect consider consolidate construct consult contain continue contrast contribute control convert convince
    cook cope copy correct correlate cost count counter cover craft create criticise criticize critique cross
    customise customize cut date deal debate debug decide decipher declare decline decode decompose decorate
    dedicate deduce deduct deduplicate defend define delete deliver demonstrate deny depend depict derive describe
    deserve design detail detect determine develop devise diagnose die differ differentiate digest discard discover
    discuss disprove distinguish distribute divide do document double draft drag dramatise dramatize draw dream
    dress drink drive drop eat edit elaborate elevate eliminate embellish embody emphasise emphasize employ enable
    encode encourage end enhance enjoy enlarge ensure enter entertain entitle enumerate escape establish estimate
    evaluate examine exceed exclude execute exemplify exercise exist expand expect explain explore express extend
    extract fact-check factor factorise factorize fail fall fasten favor favour feed feel fetch fight figure file
    fill filter find finish fit fix float focus follow forecast forget form format formulate forward freeze gather
    generate get give glean go grade graph greet group grow guess guide handle happen harden harm hate have hear
    help hide highlight hint hold hypothesise hypothesize identify ignore illustrate imagine imitate implement imply
    import improve improvise include increase indicate infer influence inform insert inspect inspire install
    instruct integrate intend interpret interview introduce invent invert invest investigate invite involve isolate
    join judge justify keep kill know label last lay lead learn leave lend let lie like limit link list listen live
    load locate log look lose love lower maintain make manage map mark match matter mean measure meet melt memorise
    memorize mention merge mix modernise modernize modify motivate move multiply name narrate narrow need negate
    negotiate normalise normalize note notice number object obtain occur offer omit open operate optimise optimize
    order organise organize outline output overcome own pack paraphrase parse participate pass pay perform personify
    persuade phrase pick pinpoint pitch place plan plant play please point polish pose possess post practice
    practise praise predict prefer prepare present preserve pretend prevent price print prioritise prioritize
    process produce profile program prompt pronounce proofread propose protect prove provide publish pull punctuate
    purchase put quantify quote raise rank rate rationalise reach react read realise realize rearrange reason rebut
    recall receive recite recognise recognize recommend reconcile reconstruct record recount recover reduce refactor
    refer refine reflect reformat reformulate refuse refute register regulate reject relate release remain remember
    remind remove rename render reorder reorganise reorganize repair repeat rephrase replace reply report represent
    reproduce request require rescue research resolve respond restate restore restrict restructure restyle retain
    retell retire retrieve return reveal reverse review revise reword rewrite rhyme role-play roleplay roll rotate
    round route run save say scale scan schedule scold score scramble search see seek segment select sell send
    separate serve set settle shape share sharpen shelve shorten shout show shuffle sign simplify simulate sing
    sketch skip sleep slide slow smell smooth soften solve sort sound speak specify speed spell spend split spot
    stage stand standardise standardize start state stay steelman stop store strengthen stretch strip structure
    structurise study style subtract succeed suffer suggest suit sum summarise summarize supply support suppose swap
    switch synthesise synthesize tabulate tackle tag take talk tally taste teach tell tend test thank think throw
    tidy tokenize total trace track train transcribe transform translate transliterate transpose travel treat trim
    troubleshoot try turn tweak type underline understand unpack unscramble update upgrade use utilise utilize
    validate vary verify view visit visualise visualize vote wait walk want warm warn wash watch wear weigh welcome
    win wish withdraw wonder word work worry wrap write yield
    """
)


_IRREGULAR = {
    "began": "begin", "begun": "begin", "bought": "buy", "brought": "bring", "built": "build", "came": "come",
    "caught": "catch", "chose": "choose", "chosen": "choose", "did": "do", "does": "do", "done": "do", "drew": "draw",
    "drawn": "draw", "drove": "drive", "fell": "fall", "fallen": "fall", "felt": "feel", "fought": "fight",
    "found": "find", "gave": "give", "given": "give", "goes": "go", "gone": "go", "got": "get", "grew": "grow",
    "grown": "grow", "had": "have", "has": "have", "heard": "hear", "held": "hold", "kept": "keep", "knew": "know",
    "known": "know", "laid": "lay", "led": "lead", "left": "leave", "lost": "lose", "made": "make", "meant": "mean",
    "met": "meet", "paid": "pay", "ran": "run", "said": "say", "sang": "sing", "sat": "sit", "saw": "see",
    "seen": "see", "sent": "send", "shown": "show", "slept": "sleep", "sold": "sell", "spent": "spend",
    "spoke": "speak", "spoken": "speak", "stood": "stand", "taken": "take", "taught": "teach", "thought": "think",
    "told": "tell", "took": "take", "understood": "understand", "went": "go", "won": "win", "wore": "wear",
    "written": "write", "wrote": "write",
}  # fmt: skip

_ARTICLES = _words(
    "a an the this that these those my your his her its our their each every all both some any no another one two "
    "three four five six seven eight nine ten several many few more most"
)
_PRONOUNS = _words(
    "i you he she it we they me him us them there everyone everybody someone somebody anyone anybody something "
    "anything everything nothing nobody who whom what myself yourself himself herself itself ourselves themselves "
    "mine yours theirs"
)
_QUANTIFIERS = _words("one each some all any most every both either none much many few")
_PREPOSITIONS = _words(
    "about above according across after against along among around as at before behind below beneath beside between "
    "beyond by despite down during except for from given in inside into like near of off on onto out outside over past "
    "per regarding since than through throughout till to toward towards under until up upon using via with within "
    "without away back"
)
_CONJUNCTIONS = _words(
    "and or but nor so yet if then because although though unless while when whenever where wherever whether that "
    "which who whom whose how why what"
)
_PREFACES = _PREPOSITIONS | _words(
    "if when whenever while although though unless because since assuming considering suppose supposing having based "
    "imagining knowing now today"
)
_BE = _words("be is are am was were been being isn't aren't wasn't weren't")
_DO_OR_MODAL = _words(
    "do does did don't doesn't didn't can could will would shall should may might must can't cannot couldn't won't "
    "wouldn't shouldn't mustn't"
)
_HAVE = _words("have has had haven't hasn't hadn't")
_WH = _words("what which who whom whose when where why how what's who's where's how's")
_LEAD_INS = _words(
    "please kindly now then next first second third finally also just simply briefly only and so ok okay hello hi hey "
    "never always"
)
_PARTICLES = _words("up down out off over back away")
# Verbs that begin a statement far more often than a request ("Last week …", "Like most people, …").
_SELDOM_IMPERATIVE = _words("last like live lower mean own will")
_FUNCTION_WORDS = _ARTICLES | _PRONOUNS | _PREPOSITIONS | _CONJUNCTIONS | _BE | _DO_OR_MODAL
_PHRASE_ENDS = _FUNCTION_WORDS | _words("rather instead only less")
_NEVER_IMPERATIVE = _FUNCTION_WORDS | _SELDOM_IMPERATIVE | _HAVE
_WISH = re.compile(
    r"^(?:(?:i|we)(?: would|'d| want| need| will need)(?: really| also)?(?: like| love| need| want)? you to"
    r"|(?:your|the|our) (?:task|job|goal|aim|role|assignment) (?:is|will be) to"
    r"|you (?:are|will be) (?:asked|required|expected|supposed|instructed) to"
    r"|you (?:need|have|must|should)(?: to)?)"
    r" (?P<rest>.+)$"
)

_SINGULAR_IN_S = _words("atlas bias canvas christmas gas lens means news series species")
_OWN_WISH = re.compile(r"^(?:i|we)(?: would|'d| want| need)(?: really| also)?(?: like| love)? to (?P<rest>.+)$")

_PLURALS_OF_CHE = _words("aches avalanches caches cliches headaches moustaches niches toothaches")
_TITLE_WORDS = 4

_CODE = re.compile(r"`[^`]*`")
_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]\.[A-Za-z]|Mr|Mrs|Ms|Dr|St|vs|etc|approx|No)\.(?=\s)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n+")
_TOKEN = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*|\d[\d.,]*|[^\sA-Za-z\d]")


def root_verb(instruction: str) -> RootVerb | None:
    """The root verb of the first sentence that asks for something, or None where none is found."""
    text = _ABBREVIATION.sub(lambda found: found.group().replace(".", ""), _CODE.sub(" it ", instruction))
    sentences = [
        [token.lower().replace("’", "'") for token in _TOKEN.findall(sentence)]
        for sentence in _SENTENCE_END.split(text)
    ]
    found = (_request(words) for words in sentences)
    # "I'd like to send a card …" often only sets the scene, so it counts where nothing else does.
    return next(filter(None, found), None) or next(filter(None, (_own_wish(words) for words in sentences)), None)


def _request(words: Sequence[str]) -> RootVerb | None:
    for start in _clause_starts(words):
        clause = _without_lead_in(words[start:])
        if not clause:
            continue
        found = _wish(clause) or _question(clause) or _imperative(clause)
        if found is not None:
            return found
    return None


def _clause_starts(words: Sequence[str]) -> list[int]:
    """Where a request may begin: at the front, behind a short title ("Task: …"), behind each comma of a preface."""
    if words and (words[0] in _PREFACES or words[:2] == ["you", "are"]):
        return [0, *(i + 1 for i, word in enumerate(words) if word in {",", ":", ";", "–", "—"})]
    return [0, *(i + 1 for i, word in enumerate(words[:_TITLE_WORDS]) if i and word in {":", "-", "–", "—"})]


def _without_lead_in(words: Sequence[str]) -> Sequence[str]:
    start = 0
    while start < len(words) and (
        words[start] in _LEAD_INS
        or not words[start][0].isalnum()
        or (words[start].endswith("ly") and words[start] not in _VERBS)
    ):
        start += 1
    return words[start:]


def _wish(words: Sequence[str]) -> RootVerb | None:
    found = _WISH.match(" ".join(words).replace(" ' ", "'"))
    if found is None:
        return None
    rest = _without_lead_in(found["rest"].split())
    return _at(rest, 0) if rest else None


def _own_wish(words: Sequence[str]) -> RootVerb | None:
    found = _OWN_WISH.match(" ".join(words))
    return _at(found["rest"].split(), 0) if found else None


def _at(words: Sequence[str], index: int) -> RootVerb:
    verb = words[index]
    if verb == "have" and words[index + 1 : index + 2] == ["to"] and len(words) > index + 2:
        return _at(words, index + 2)
    found = _object(words[index + 1 :])
    # "Help me decide whether …": what follows is a verb.
    return RootVerb(base_form(verb) or verb, None if verb == "help" and found in _VERBS else found)


def _imperative(words: Sequence[str]) -> RootVerb | None:
    first = words[0]
    second = words[1] if len(words) > 1 else ""
    if first in {"do", "don't"}:
        rest = words[2:] if second == "not" else words[1:]
        return _at(rest, 0) if rest and rest[0] in _VERBS else RootVerb("do", _object(words[1:]))
    if first in _NEVER_IMPERATIVE or not first[0].isalpha() or second in _BE | _HAVE | _DO_OR_MODAL:
        return None
    if first in _VERBS or second in _ARTICLES or second in _PRONOUNS or second in {"up", "down", "out"}:
        return _at(words, 0)
    if second[:1].isdigit() or second[:1] in {'"', "“", "'"}:
        return _at(words, 0)
    return None


def _question(words: Sequence[str]) -> RootVerb | None:
    first = words[0]
    if first in _PREPOSITIONS and len(words) > 1 and words[1] in _WH:
        words, first = words[1:], words[1]
    if first in _WH:
        return _wh_question(words)
    if "?" not in words:
        return None
    if first in _DO_OR_MODAL or first in _HAVE:
        return _after_auxiliary(words, 0)
    if first in _BE:
        return RootVerb("be", None)
    return None


def _wh_question(words: Sequence[str]) -> RootVerb | None:
    """The verb of a question that begins with what, which, how …; None for "What a day" and the like."""
    if "'" in words[0]:
        return RootVerb("be", None)
    end = next((i for i, word in enumerate(words) if word in {"?", ",", ";", ":", "."}), len(words))
    for i, word in enumerate(words[1:end], start=1):
        if word in _BE:
            return RootVerb("be", None)
        if word in _DO_OR_MODAL or word in _HAVE:
            return _after_auxiliary(words, i)
    # "What ended the war?", "Which planet spins …?": no auxiliary, the verb is finite.
    for i in range(1 if words[0] in {"what", "who"} else 2, end):
        base = base_form(words[i])
        if base is not None and words[i] != base:
            return RootVerb(base, _object(words[i + 1 :]))
    return None


def _after_auxiliary(words: Sequence[str], auxiliary: int) -> RootVerb | None:
    """The main verb behind do, a modal or have: the last known verb of the first run of words that holds one.

    "the last call return three tags" is such a run up to the number; its last verb is "return".
    """
    best: int | None = None
    i = auxiliary + 1
    while i < len(words):
        word = words[i]
        if word == "be" and i + 1 < len(words):
            passive = base_form(words[i + 1])
            return RootVerb(passive if passive and passive != words[i + 1] else "be", None)
        stops = word in _ARTICLES or word in _PREPOSITIONS or word in _CONJUNCTIONS or not word[0].isalpha()
        after_subject = i > auxiliary + 1 and words[i - 1] in _PRONOUNS
        if best is not None and (stops or word in _PRONOUNS):
            break
        if not stops and base_form(word) is not None and (word in _VERBS or words[auxiliary] in _HAVE):
            best = i
            if after_subject:
                break
        elif after_subject and not stops and not word.endswith("ly"):
            best = i
            break
        if word == "?":
            break
        i += 1
    return None if best is None else _at(words, best)


def base_form(word: str) -> str | None:
    """The base form of a known verb's form ("mixes", "mixing", "mixed" give "mix"); None for other words."""
    if word in _VERBS:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, fillers in (("ies", ("y",)), ("es", ("", "e")), ("s", ("",)), ("ied", ("y",)), ("ed", ("", "e"))):
        if word.endswith(ending):
            found = _known(word.removesuffix(ending), fillers)
            if found is not None:
                return found
    return _known(word.removesuffix("ing"), ("", "e")) if word.endswith("ing") else None


def _known(stem: str, fillers: Sequence[str]) -> str | None:
    doubled = stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else stem
    return next((w for w in (*(stem + filler for filler in fillers), doubled) if w in _VERBS), None)


def _object(words: Sequence[str]) -> str | None:
    """The head noun of the phrase at the front of ``words``."""
    nouns: list[str] = []
    article = False
    for i, word in enumerate(words):
        before_nouns = not nouns
        if before_nouns and (word in _PARTICLES or word in {"me", "us", "given"} or word.endswith("ly")):
            continue
        if before_nouns and i and word == "of" and words[i - 1] in _QUANTIFIERS:
            return _object(words[i + 1 :])
        if before_nouns and (word in _ARTICLES or word[0].isdigit()):
            article = True
        elif word == "but":
            continue
        elif not word[0].isalpha() or word in _PHRASE_ENDS:
            break
        else:
            nouns.append(word)
    while len(nouns) > 1 and _follows_the_noun(nouns[-1]):
        nouns.pop()
    if not nouns or (not article and nouns[0] in nouns[-1:] and nouns[0].endswith("ing") and base_form(nouns[0])):
        return None
    return singular(nouns[-1].removesuffix("'s"))


def _follows_the_noun(word: str) -> bool:
    """Whether the word, at a phrase's end, is a participle ("the memory described") or an adverb."""
    return word in _IRREGULAR or (word.endswith(("ed", "ly")) and word not in _VERBS)


def singular(noun: str) -> str:
    """The singular by English's regular rules; words in -ss, -us and -is stay."""
    if noun in _SINGULAR_IN_S:
        return noun
    if len(noun) > 4 and noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun in _PLURALS_OF_CHE:
        return noun[:-1]
    if noun.endswith(("sses", "xes", "ches", "shes", "zes")):
        return noun[:-2]
    if len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        return noun[:-1]
    return noun
