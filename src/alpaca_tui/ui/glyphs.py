"""The signs that the cockpit draws with, in full and in plain ASCII."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs; every one is a single cell wide."""

    braille: bool = True
    check: str = "✓"
    cross: str = "✗"
    alive: str = "●"
    idle: str = "○"
    pointer: str = "▸"
    separator: str = "│"
    ellipsis: str = "…"
    newline: str = "↵"
    rule: str = "─"
    dot: str = "·"
    mark: str = "◆"
    axis: str = "┤"
    corner: str = "└"
    bar: str = " ╸━"
    """A bar's last cell, from nothing to full."""
    human: str = "━"
    machine: str = "╍"
    track: str = "─"
    arrow: str = "→"
    at_least: str = "≥"
    times: str = "×"
    cursor: str = "┊"


UNICODE = Glyphs()
ASCII = Glyphs(
    braille=False,
    check="+",
    cross="x",
    alive="*",
    idle="o",
    pointer=">",
    separator="|",
    ellipsis="~",
    newline="/",
    rule="-",
    dot=".",
    mark="@",
    axis="|",
    corner="+",
    bar=" #",
    human="#",
    machine="=",
    track="-",
    arrow=">",
    at_least=">",
    times="x",
    cursor=":",
)
