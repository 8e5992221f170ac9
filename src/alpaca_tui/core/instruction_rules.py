"""The filter's rules for instructions. Each says where it comes from.

"Self-Instruct" is Wang et al. 2022 (arXiv 2212.10560, section 2.2) with its published code; "Alpaca" is Stanford
Alpaca's published code; "ours" is neither.
"""

from __future__ import annotations

import string
import unicodedata
from dataclasses import dataclass
from typing import Protocol

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.novelty import DEFAULT_THRESHOLD, Match
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import SHIPPED, RuleSettings
from alpaca_tui.core.rule_text import (
    BANNED_WORDS,
    CONTENT_WORDS,
    count_words,
    find_listed,
    longest_loop,
    repeated_share,
)

_HEAD = 200


class InstructionRule(Protocol):
    """One reason to refuse an instruction."""

    @property
    def name(self) -> str:
        """The rule's name in verdicts, funnels and ``config.toml``."""

    def judge(self, text: str, context: Context) -> Verdict:
        """The verdict on one instruction, given what is known already."""


@dataclass(frozen=True, slots=True)
class Length:
    """Too short or too long to be an instruction: 4 to 150 words. Source: Self-Instruct."""

    min_words: int = 4
    max_words: int = 150
    tokenizer: TokenizerName = "rouge"
    name: str = "length"

    def judge(self, text: str, context: Context) -> Verdict:
        """``score`` is the number of words, ``threshold`` the bound it is measured against."""
        words = count_words(text, self.tokenizer)
        bound = self.min_words if words < self.min_words else self.max_words
        passed = self.min_words <= words <= self.max_words
        detail = "" if passed else f"{words} words, allowed are {self.min_words} to {self.max_words}"
        return Verdict(self.name, passed, float(words), float(bound), detail=detail)


@dataclass(frozen=True, slots=True)
class PunctuationStart:
    """Begins with a punctuation mark: usually the tail of something. Source: Self-Instruct (ASCII marks there)."""

    name: str = "punctuation_start"

    def judge(self, text: str, context: Context) -> Verdict:
        """Yes or no."""
        first = text.lstrip()[:1]
        failed = bool(first) and (first in string.punctuation or unicodedata.category(first)[0] == "P")
        return Verdict(self.name, not failed, detail=f"begins with {first!r}" if failed else "")


@dataclass(frozen=True, slots=True)
class NonEnglishStart:
    """Begins with a character outside ASCII. Source: Self-Instruct, for an English data set."""

    name: str = "non_english_start"

    def judge(self, text: str, context: Context) -> Verdict:
        """Yes or no."""
        first = text.lstrip()[:1]
        failed = not first.isascii()
        return Verdict(self.name, not failed, detail=f"begins with {first!r}" if failed else "")


@dataclass(frozen=True, slots=True)
class BannedWords:
    """Asks for what a text model cannot see or make. Source: Self-Instruct and Alpaca."""

    words: tuple[str, ...] = BANNED_WORDS
    name: str = "banned_words"

    def judge(self, text: str, context: Context) -> Verdict:
        """Whole words, any case."""
        found = find_listed(text, self.words)
        return Verdict(self.name, found is None, detail=f"contains {found!r}" if found else "")


@dataclass(frozen=True, slots=True)
class ProgramPrefix:
    """Begins with "Write a program", which models invent without end. Source: Self-Instruct (any case: ours)."""

    prefixes: tuple[str, ...] = ("Write a program",)
    name: str = "program_prefix"

    def judge(self, text: str, context: Context) -> Verdict:
        """Whole words: "Write a programme" passes."""
        start = text.casefold().split()
        hit = next((p for p in self.prefixes if start[: len(p.split())] == p.casefold().split()), None)
        return Verdict(self.name, hit is None, detail=f"begins with {hit!r}" if hit else "")


@dataclass(frozen=True, slots=True)
class Content:
    """Contains a listed word of sexual content, self-harm or weapons. Source: ours; CONTENT_WORDS says its limits."""

    words: tuple[str, ...] = CONTENT_WORDS
    name: str = "content"

    def judge(self, text: str, context: object) -> Verdict:
        """Whole words, any case."""
        found = find_listed(text, self.words)
        return Verdict(self.name, found is None, detail=f"contains {found!r}" if found else "")


@dataclass(frozen=True, slots=True)
class Repetition:
    """Goes round in circles ("20% of 20% of 20% of …"). Source: ours; small models do it and the paper's rules miss it.

    Refused are: one phrase of up to ``longest_phrase`` tokens more than ``max_loop`` times in a row; and, from
    ``min_tokens`` on, more than ``max_share`` of the 3-grams said before, or a share of distinct tokens under
    ``min_unique`` among the first 200.
    """

    max_loop: int = 3
    longest_phrase: int = 8
    max_share: float = 0.4
    min_unique: float = 0.2
    min_tokens: int = 20
    name: str = "repetition"

    def judge(self, text: str, context: object) -> Verdict:
        """``score`` is the share of repeated 3-grams, or what was over its bound, with that bound as ``threshold``."""
        tokens = tokenize(text, "unicode")
        # A phrase said n times in a row repeats each of its tokens n - 1 times: most texts need no closer look.
        repeated = len(tokens) - len(set(tokens))
        times, phrase = longest_loop(tokens, self.longest_phrase) if repeated >= self.max_loop else (1, ())
        if times > self.max_loop:
            detail = f"{' '.join(phrase)!r} {times} times in a row"
            return Verdict(self.name, False, float(times), float(self.max_loop), detail=detail)
        share = repeated_share(tokens, 3)
        if len(tokens) < self.min_tokens:
            return Verdict(self.name, True, share, self.max_share)
        if share > self.max_share:
            return Verdict(self.name, False, share, self.max_share, detail=f"{share:.0%} repeated 3-grams")
        # Long texts have fewer distinct words by nature, so the share is taken of the beginning.
        head = tokens[:_HEAD]
        unique = len(set(head)) / len(head)
        if unique < self.min_unique:
            detail = f"only {unique:.0%} distinct words"
            return Verdict(self.name, False, unique, self.min_unique, detail=detail)
        return Verdict(self.name, True, share, self.max_share)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same wording as a known instruction, but for case, spacing and closing punctuation. Source: Self-Instruct."""

    name: str = "duplicate"

    def judge(self, text: str, context: Context) -> Verdict:
        """Names the first instruction of that wording."""
        known = context.same_instruction(text)
        return Verdict(self.name, known is None, neighbour=known)


@dataclass(frozen=True, slots=True)
class Novelty:
    """ROUGE-L with some known instruction strictly above ``threshold``. Source: Self-Instruct, 0.7."""

    threshold: float = DEFAULT_THRESHOLD
    name: str = "novelty"

    def judge(self, text: str, context: Context) -> Verdict:
        """``score`` is the highest ROUGE-L, or None where nothing scores above the index's floor."""
        floor = self.floor(context)
        return self.judged(context.instructions.nearest(text, floor), floor)

    def floor(self, context: Context) -> float:
        """From where on the nearest neighbour is looked for, so that a text that passes is explained too."""
        return min(context.instructions.floor, self.threshold)

    def judged(self, match: Match | None, floor: float) -> Verdict:
        """The verdict on a text whose nearest known neighbour above ``floor`` is this one."""
        if match is None:
            return Verdict(self.name, True, None, self.threshold, detail=f"nothing above {floor:g}")
        neighbour = match.key if isinstance(match.key, Neighbour) else None
        return Verdict(self.name, match.score <= self.threshold, match.score, self.threshold, neighbour)


def instruction_rules(
    novelty_threshold: float = DEFAULT_THRESHOLD,
    tokenizer: TokenizerName = "rouge",
    settings: RuleSettings = SHIPPED,
) -> tuple[InstructionRule, ...]:
    """The rules for instructions, in the order in which the first failure is named; ``settings`` can change the list.

    With the ``unicode`` tokenizer, chosen for other languages than English, ``non_english_start`` is left out.
    Raises UsageError for a threshold outside 0 to 1.
    """
    if not 0 <= novelty_threshold <= 1:
        raise UsageError(f"the novelty threshold is {novelty_threshold:g}: choose one from 0 to 1")
    return settings.arranged(
        (
            Length(tokenizer=tokenizer, **settings.of("length")),
            PunctuationStart(),
            *(() if tokenizer == "unicode" else (NonEnglishStart(),)),
            BannedWords(**settings.of("banned_words")),
            ProgramPrefix(**settings.of("program_prefix")),
            Content(**settings.of("content")),
            Repetition(**settings.of("repetition")),
            Duplicate(),
            Novelty(novelty_threshold),
        )
    )


INSTRUCTION_RULES = instruction_rules()
"""The default list."""
