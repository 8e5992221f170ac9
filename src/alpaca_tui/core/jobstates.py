"""The states of a job and which may follow which."""

from __future__ import annotations

from typing import Literal

JobKind = Literal["generate", "train", "evaluate"]
JobState = Literal["queued", "running", "stopping", "succeeded", "failed", "stopped", "interrupted"]

ACTIVE: frozenset[str] = frozenset({"queued", "running", "stopping"})
"""A process is at work, or about to be."""

RESUMABLE: frozenset[str] = frozenset({"failed", "stopped", "interrupted"})
"""Ended before its goal: the same job can be queued again and goes on where it was."""

NEXT: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "stopped", "interrupted", "failed"}),
    "running": frozenset({"stopping", "succeeded", "failed", "stopped", "interrupted"}),
    "stopping": frozenset({"succeeded", "failed", "stopped", "interrupted"}),
    "succeeded": frozenset(),
    "failed": frozenset({"queued"}),
    "stopped": frozenset({"queued"}),
    "interrupted": frozenset({"queued"}),
}


def may_follow(state: str, following: str) -> bool:
    """Whether a job in ``state`` may go over to ``following``."""
    return following in NEXT[state]
