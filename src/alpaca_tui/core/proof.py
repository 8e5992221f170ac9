"""Has a saved model spoken? What counts as silence and what as babble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONG_ENOUGH = 24
"""Fewer tokens than these are too few to call a text repetitive."""
VARIETY = 0.2
"""Fewer different tokens than this share of a text: it goes round in a circle, or is one token over and over."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a saved model answered to one prompt, as token ids without special ones, and as text.

    ``reference`` is the answer that the data give.
    """

    ids: tuple[int, ...]
    text: str
    reference: tuple[int, ...] = ()


def is_repetitive(ids: Sequence[int]) -> bool:
    """Whether a text says next to nothing in many tokens."""
    return len(ids) >= LONG_ENOUGH and len(set(ids)) < VARIETY * len(ids)


def fault(spoken: Spoken) -> str | None:
    """``empty`` or ``repetitive``; None for an answer that may pass. Data that repeat themselves may be learnt."""
    if not spoken.text.strip():
        return None if not spoken.reference else "empty"
    return "repetitive" if is_repetitive(spoken.ids) and not is_repetitive(spoken.reference) else None


def refusal(answers: Sequence[Spoken]) -> str | None:
    """Why a model that answered so is no result, in a clause; None where at least half of the answers pass.

    One answer in a circle is what small models do; most of them is what a model broken in saving does.
    """
    faults = [found for answer in answers if (found := fault(answer)) is not None]
    if not answers or 2 * len(faults) <= len(answers):
        return None
    kinds = " or ".join(dict.fromkeys(sorted(faults)))
    example = next(answer.text for answer in answers if fault(answer) is not None)
    shown = f", such as {example.strip()[:60]!r}" if example.strip() else ""
    return f"{len(faults)} of {len(answers)} answers are {kinds}{shown}"
