"""Filtering a stream of texts in order, exactly as the rules would one by one, but a block of texts at a time.

What a text is like among those kept before its block does not depend on the block's own decisions, so it is looked up
for all of them at once, and so is what the texts of the block that may still be kept are like among each other. Then
the block is decided in order, without any further search.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from alpaca_tui.core.instruction_rules import Duplicate, InstructionRule, Novelty
from alpaca_tui.core.novelty import Match, NoveltyIndex
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import parameters_of, stamped

_BLOCK = 2048
"""Texts decided at a time. Within a block, every text is compared with every one that may be kept."""


class Sieve:
    """Judges texts in order; only texts that pass block later ones.

    With ``brief``, the verdicts on a text are none where it passes and else the first failure alone, which is several
    times faster: the nearest neighbour is then looked for above the threshold only.
    """

    def __init__(
        self,
        rules: Sequence[InstructionRule],
        tokenizer: TokenizerName = "rouge",
        known: Sequence[Neighbour] = (),
        *,
        brief: bool = False,
        rescued: Collection[int] = (),
    ) -> None:
        """``rescued`` are ids of texts that block later ones whatever the verdicts on them say."""
        self._rescued = frozenset(rescued)
        self._rules = rules
        self._parameters = [parameters_of(rule) for rule in rules]
        self._brief = brief
        self._context = Context(tokenizer)
        self._context.know_instructions(known)
        self._place = next((place for place, rule in enumerate(rules) if isinstance(rule, Novelty)), len(rules))
        self._novelty = next((rule for rule in rules if isinstance(rule, Novelty)), None)

    def judge(
        self, texts: Sequence[Neighbour], progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[tuple[Verdict, ...]]:
        """The verdicts on each of the next texts. ``progress`` is told how many are judged."""
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            yield from self._decided(block)
            progress(start + len(block))

    def _decided(self, block: Sequence[Neighbour]) -> list[tuple[Verdict, ...]]:
        fixed = [self._judged_alone(one.text) for one in block]
        similar = _Similar(self._context, self._novelty, self._brief)
        refused = [any(v is not None and not v.passed for v in verdicts) for verdicts in fixed]
        exempt = [one.id in self._rescued for one in block]
        # A brief answer needs no neighbour where an earlier rule has failed: there the verdicts end before novelty.
        asked = [place for place, verdicts in enumerate(fixed) if len(verdicts) > self._place]
        similar.look_up(block, asked, refused, exempt)
        decided = []
        for place, (one, verdicts) in enumerate(zip(block, fixed, strict=True)):
            found: list[Verdict] = []
            for rule, parameters, verdict in zip(self._rules, self._parameters, verdicts, strict=False):
                if verdict is None and isinstance(rule, Novelty):
                    verdict = rule.judged(similar.nearest(place), similar.floor)
                verdict = stamped(verdict or rule.judge(one.text, self._context), parameters)
                if not self._brief or not verdict.passed:
                    found.append(verdict)
                if self._brief and not verdict.passed:
                    break
            if exempt[place] or all(verdict.passed for verdict in found):
                similar.keep(place)
                self._context.know_wording(one)
            decided.append(tuple(found))
        self._context.instructions.extend((one, one.text) for one in similar.kept())
        return decided

    def _judged_alone(self, text: str) -> list[Verdict | None]:
        """The verdicts of the rules that look at nothing but the text; None for the others. Brief: to the first no."""
        verdicts: list[Verdict | None] = []
        for rule in self._rules:
            verdict = None if isinstance(rule, (Duplicate, Novelty)) else rule.judge(text, self._context)
            verdicts.append(verdict)
            if self._brief and verdict is not None and not verdict.passed:
                break
        return verdicts


class _Similar:
    """What the texts of a block are like: among all that was kept before it, and among each other."""

    def __init__(self, context: Context, rule: Novelty | None, brief: bool) -> None:
        self._context = context
        self._rule = rule
        self.floor = 0.0 if rule is None else rule.floor(context)
        if rule is not None and brief:
            self.floor = rule.threshold
        self._kept: dict[int, Neighbour] = {}
        self._block: Sequence[Neighbour] = ()
        self._before: dict[int, Match] = {}
        self._inside: dict[int, list[tuple[int, float]]] = {}

    def look_up(
        self, block: Sequence[Neighbour], asked: Sequence[int], refused: Sequence[bool], exempt: Sequence[bool]
    ) -> None:
        """Find out about the texts at the places ``asked``.

        Those ``refused`` by other rules can't block any; those ``exempt`` from all rules always do.
        """
        self._block = block
        if self._rule is None:
            return
        index = self._context.instructions
        texts = [block[place].text for place in asked]
        for place, match in zip(asked, index.nearest_each(texts, self.floor), strict=True):
            if match is not None:
                self._before[place] = match
        possible = [
            place
            for place in asked
            if exempt[place]
            or (not refused[place] and (place not in self._before or self._before[place].score <= self._rule.threshold))
        ]
        among = NoveltyIndex(index.tokenizer)
        among.extend((place, block[place].text) for place in possible)
        pairs = among.alike(texts, self.floor, strictly=True)
        for number, row, score in zip(pairs.texts.tolist(), pairs.rows.tolist(), pairs.scores.tolist(), strict=True):
            if possible[row] < asked[number]:
                self._inside.setdefault(asked[number], []).append((possible[row], score))

    def keep(self, place: int) -> None:
        """From now on the text blocks later ones."""
        self._kept[place] = self._block[place]

    def kept(self) -> list[Neighbour]:
        """In order of arrival."""
        return list(self._kept.values())

    def nearest(self, place: int) -> Match | None:
        """The most similar text kept so far; of several, the first."""
        best = self._before.get(place)
        for other, score in self._inside.get(place, ()):
            if other in self._kept and (best is None or score > best.score):
                best = Match(self._kept[other], score)
        return best
