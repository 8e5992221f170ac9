"""Filtering a stream of texts in order, as the rules would one by one, with the costly looking-up done in parallel.

The texts come in blocks. What each is like among the texts kept before its block, and among those of its block, does
not depend on the block's decisions, so it can be found out for all of them at once, in any number of processes; then
the block is decided in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from alpaca_tui.core.instruction_rules import Duplicate, InstructionRule, Novelty
from alpaca_tui.core.novelty import Match, NoveltyIndex
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_text import normalise

_PAIRS_PER_TEXT = 20
_BLOCK_SLACK = 50


@dataclass(frozen=True, slots=True)
class Look:
    """What can be said of a text before its block is decided.

    ``failed`` is the first rule that refuses it whatever was kept; then nothing else was looked up. ``inside`` are
    (place in the block, score) of alike texts before it, None where there are too many to list.
    """

    failed: Verdict | None = None
    nearest: Match | None = None
    inside: tuple[tuple[int, float], ...] | None = ()


LookAll = Callable[[Callable[[Iterable[int]], list[Look]], int], list[Look]]
"""Calls the function it is given with the numbers from 0 to a count, in parts of its choosing; returns all in order."""


def look_here(look: Callable[[Iterable[int]], list[Look]], count: int) -> list[Look]:
    """``LookAll`` in this process, in one go."""
    return look(range(count))


class Sieve:
    """Judges texts in order; only texts that pass block later ones. Names the first rule that fails, and no other."""

    def __init__(self, rules: Sequence[InstructionRule], tokenizer: TokenizerName = "rouge") -> None:
        self._context = Context(tokenizer)
        self._kept: list[Neighbour] = []
        """Of the latest block; known to the context once there is a next block, for indexing the last is in vain."""
        self._fixed = [rule for rule in rules if not isinstance(rule, (Duplicate, Novelty))]
        self._duplicate = next((rule for rule in rules if isinstance(rule, Duplicate)), None)
        self._novelty = next((rule for rule in rules if isinstance(rule, Novelty)), None)

    def judge(self, records: Sequence[tuple[int, str]], look_all: LookAll = look_here) -> list[Verdict | None]:
        """The verdict that rejects each of the next (number, text) pairs, or None. Neighbours bear these numbers."""
        self._context.know_instructions(self._kept)
        texts = [text for _, text in records]
        block = NoveltyIndex(self._context.tokenizer)
        if self._novelty is not None:
            block.extend(enumerate(texts))
        looks = look_all(lambda numbers: self._look(texts, block, numbers), len(texts))
        decided = _Block(self._context.tokenizer)
        verdicts = []
        for place, ((number, text), look) in enumerate(zip(records, looks, strict=True)):
            verdict = look.failed or self._same(text, decided) or self._alike(text, look, decided)
            if verdict is None:
                decided.keep(place, Neighbour("candidate", number, text))
            verdicts.append(verdict)
        self._kept = list(decided.kept.values())
        return verdicts

    def _look(self, texts: Sequence[str], block: NoveltyIndex, numbers: Iterable[int]) -> list[Look]:
        looks = []
        pairs = 0
        for done, i in enumerate(numbers):
            failed = next((v for rule in self._fixed if not (v := rule.judge(texts[i], self._context)).passed), None)
            if failed is not None or self._novelty is None:
                looks.append(Look(failed))
                continue
            match = self._context.instructions.nearest(texts[i], self._novelty.threshold)
            inside = None
            # Where nearly all texts are alike it is cheaper to ask once more while the block is decided.
            if pairs <= _PAIRS_PER_TEXT * (done + _BLOCK_SLACK):
                found = block.neighbours(texts[i], self._novelty.threshold)
                pairs += len(found)
                inside = tuple((j, m.score) for m in found if isinstance(j := m.key, int) and j < i)
            looks.append(Look(None, match, inside))
        return looks

    def _same(self, text: str, decided: _Block) -> Verdict | None:
        if self._duplicate is None:
            return None
        known = self._context.same_instruction(text) or decided.wordings.get(normalise(text))
        return None if known is None else Verdict(self._duplicate.name, False, neighbour=known)

    def _alike(self, text: str, look: Look, decided: _Block) -> Verdict | None:
        if self._novelty is None:
            return None
        threshold = self._novelty.threshold
        best = look.nearest
        if look.inside is None:
            match = decided.index().nearest(text, threshold)
            if match is not None and (best is None or match.score > best.score):
                best = match
        for place, score in look.inside or ():
            if place in decided.kept and score > (threshold if best is None else best.score):
                best = Match(decided.kept[place], score)
        if best is None or not isinstance(best.key, Neighbour):
            return None
        return Verdict(self._novelty.name, False, best.score, threshold, best.key)


class _Block:
    """What was kept of the block that is being decided, by place."""

    def __init__(self, tokenizer: TokenizerName) -> None:
        self.kept: dict[int, Neighbour] = {}
        self.wordings: dict[str, Neighbour] = {}
        self._index = NoveltyIndex(tokenizer)
        self._waiting: list[Neighbour] = []

    def keep(self, place: int, neighbour: Neighbour) -> None:
        self.kept[place] = neighbour
        self.wordings.setdefault(normalise(neighbour.text), neighbour)
        self._waiting.append(neighbour)

    def index(self) -> NoveltyIndex:
        """All that was kept, indexed only once somebody asks."""
        for neighbour in self._waiting:
            self._index.add(neighbour, neighbour.text)
        self._waiting.clear()
        return self._index
