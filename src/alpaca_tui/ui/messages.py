"""What the cockpit has said in toasts, kept for those who looked away."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from textual.content import Content

from alpaca_tui.ui.figures import clock
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal
from alpaca_tui.ui.widgets.lines import EMPTY

MOST = 500
_LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Said:
    """One message; the same one said again at once is counted, not repeated."""

    at: float
    text: str
    severity: str
    times: int = 1


class Messages:
    """The newest messages of this sitting."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque(maxlen=MOST)

    def keep(self, text: str, severity: str, at: float) -> None:
        """Remember a message that was said at ``at`` (seconds since the epoch)."""
        text = text[:_LONGEST]
        last = self._said[-1] if self._said else None
        if last is not None and (last.text, last.severity) == (text, severity):
            self._said[-1] = replace(last, at=at, times=last.times + 1)
        else:
            self._said.append(Said(at, text, severity))

    def paragraphs(self, glyphs: Glyphs) -> list[Content]:
        """The newest first: time, a word for the severity, the text to the letter."""
        if not self._said:
            return [
                Content.styled("Nothing has been said yet. Toasts are kept here while the cockpit is open.", "$muted")
            ]
        words = {
            "information": (f"{glyphs.dot} note   ", "$muted"),
            "warning": ("! warning", "$warning bold"),
            "error": (f"{glyphs.cross} error  ", "$error bold"),
        }
        lines: list[Content] = []
        for said in reversed(self._said):
            times = f"  {glyphs.times}{said.times}" if said.times > 1 else ""
            head = Content.assemble((f"{clock(said.at)}  ", "$faint"), words[said.severity], (times, "$muted"))
            lines += [head, literal(said.text), EMPTY]
        return lines[:-1]
