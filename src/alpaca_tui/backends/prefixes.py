"""What the prompts of a stage begin with: found, read once, kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from alpaca_tui.backends.kvcache import Prefix

MIN_SHARED = 64  # tokens; a shorter common prefix is not worth a pass of its own
REMEMBERED = 8  # prompts that came alone: what a later one shares with them is worth keeping
KEPT_PREFIXES = 3  # the templates of a recipe that begin with examples


class Prefixes:
    """The most recently used prefixes. ``extend(known, wanted)`` reads what is missing of one."""

    def __init__(self, extend: Callable[[Prefix | None, tuple[int, ...]], Prefix]) -> None:
        self._extend = extend
        self._kept: list[Prefix] = []  # the most recently used last
        self._lone: deque[tuple[int, ...]] = deque(maxlen=REMEMBERED)

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """Frees them all."""
        self._kept = []

    def of(self, prompts: list[list[int]]) -> Prefix | None:
        """The keys and values of what ``prompts`` begin with, taken from an earlier call as far as they
        match.

        A single prompt is matched against what is kept, and against the last ones that came alone, so that single
        calls of one stage share too.
        """
        alone = len(prompts) == 1
        wanted = tuple(prompts[0]) if alone else tuple(prompts[0][: common_prefix(prompts)])
        reach, known = max(((_matching(kept.ids, wanted), at) for at, kept in enumerate(self._kept)), default=(0, -1))
        reach = min(reach, len(prompts[0]) - 1)
        if reach >= MIN_SHARED and (alone or len(wanted) - reach < MIN_SHARED):
            return self._known(known, reach)
        if alone:
            wanted = self._shared_lately(wanted)
        if len(wanted) < MIN_SHARED:
            return None
        old = self._kept[known].head(reach) if reach >= MIN_SHARED else None
        prefix = self._extend(old, wanted)
        if old is not None and reach == len(self._kept[known]):
            self._kept.pop(known)  # the longer one holds all that it held
        self._kept = [*self._kept[-(KEPT_PREFIXES - 1) :], prefix]
        return prefix

    def _known(self, at: int, reach: int) -> Prefix:
        """The first ``reach`` tokens of a kept prefix, which becomes the most recently used.

        By chance the first prompts may have shared a few words more than their template: then it is shortened for good,
        so that all that come stand behind the same one.
        """
        kept = self._kept.pop(at)
        head = kept.head(reach)
        self._kept.append(head if len(kept) - reach < MIN_SHARED else kept)
        return head

    def _shared_lately(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        """What a prompt shares with one of the last that came alone."""
        shared = max((common_prefix([list(prompt), list(other)]) for other in self._lone), default=0)
        self._lone.append(prompt)
        return prompt[:shared]


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """The number of leading tokens that all prompts share, at least one token short of the shortest prompt."""
    first, last = min(prompts), max(prompts)  # in lexical order these two differ the soonest
    limit = min(len(prompt) for prompt in prompts) - 1
    return next((at for at in range(limit) if first[at] != last[at]), limit)


def _matching(kept: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """The number of leading tokens in which the two agree."""
    limit = min(len(kept), len(wanted))
    return next((at for at in range(limit) if kept[at] != wanted[at]), limit)
