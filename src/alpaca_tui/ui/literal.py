"""Text from models, files and people, made fit to show: literal, inert, visible and of the width it claims.

Everything that the cockpit shows and did not write itself goes through here. Markup is never parsed, and
``core.visible`` lets nothing through that could drive the terminal or hide.
"""

from __future__ import annotations

from textual.content import Content, Span
from textual.style import Style

from alpaca_tui.core.visible import SIGNS, one_line, printable

MAX_SHOWN = 20_000
"""Characters of one text that a card shows; the rest is counted, and open in the editor."""


def literal(text: str, style: str | Style = "", *, limit: int | None = None) -> Content:
    """Content that shows ``text`` and nothing else; replaced characters are marked in the warning colour.

    With ``limit`` (characters) the rest is left out and counted in a last line.
    """
    left_out = 0
    if limit is not None and len(text) > limit:
        left_out = len(text) - limit
        text = text[:limit]
    shown = printable(text)
    content = Content.styled(shown, style) if style else Content(shown)
    signs = [Span(m.start(), m.end(), "$warning") for m in SIGNS.finditer(shown)]
    if signs:
        content = content.add_spans(signs)
    if left_out:
        content = content + Content.styled(f"\n… and {left_out:,} more characters", "italic $muted")
    return content


def literal_line(text: str, style: str | Style = "", *, newline: str = "\u21b5") -> Content:
    """Like ``literal``, on one line."""
    return literal(one_line(text, newline), style)
