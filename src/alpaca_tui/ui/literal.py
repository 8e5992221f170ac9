"""Text from models, files and people, made fit to show: literal, inert, visible and of the width it claims.

Everything that the cockpit shows and did not write itself goes through here. Markup is never parsed, control
characters never reach the terminal, and nothing can hide: an invisible character gets a visible sign.
"""

from __future__ import annotations

import re
import unicodedata

from textual.content import Content, Span
from textual.style import Style

TAB_STOP = 4
MAX_SHOWN = 20_000
"""Characters of one text that a card shows; the rest is counted, and open in the editor."""

INVISIBLE_SIGN = "\u25cc"
"""Stands for a character without width or shape (zero-width space, byte-order mark, tag character, …)."""
BIDI_SIGN = "\u21c4"
"""Stands for a character that would turn the direction of what follows it."""
UNENCODABLE_SIGN = "\ufffd"
"""Stands for half of a surrogate pair."""

CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_JOINERS = "\u200c\u200d"
_VARIATION = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_LINE_SEPARATORS = "\u2028\u2029"
SURROGATES = "\ud800-\udfff"
_SUSPECT = re.compile(f"[{CONTROL}{BIDI}{_JOINERS}{_VARIATION}{_INVISIBLE}{_LINE_SEPARATORS}{SURROGATES}]")
_SIGNS = re.compile(f"[\u2400-\u2424{INVISIBLE_SIGN}{BIDI_SIGN}{UNENCODABLE_SIGN}\u21e5]")
_BIDI_SET = re.compile(f"[{BIDI}]")
_VARIATION_SET = re.compile(f"[{_VARIATION}]")


def _sign(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if code < 0xA0:  # a C1 control is ESC and a letter in one: show it as the two
        return "\u241b" + chr(code - 0x40)
    if 0xD800 <= code <= 0xDFFF:
        return UNENCODABLE_SIGN
    if character in "\u2028\u2029":
        return "\u2424"
    if _BIDI_SET.match(character):
        return BIDI_SIGN
    if _VARIATION_SET.match(character):
        return ""  # chooses between two looks of the character before it; terminals disagree on its width
    if character in _JOINERS and _joins_letters(match):
        return character
    return INVISIBLE_SIGN


def _joins_letters(match: re.Match[str]) -> bool:
    # Persian and the Indic scripts write with joiners; between emoji they make terminals disagree on the width.
    before = match.string[match.start() - 1 : match.start()]
    return bool(before) and unicodedata.category(before)[0] in "LM"


def printable(text: str) -> str:
    """The text with every control, bidi, invisible or unencodable character replaced by a visible sign.

    Newlines stay, CRLF becomes a newline, tabs become a sign and blanks up to the next stop. Idempotent.
    """
    text = text.replace("\r\n", "\n")
    if _SUSPECT.search(text):
        text = _SUSPECT.sub(_sign, text)
    if "\t" in text:
        text = "\n".join(_expand_tabs(line) if "\t" in line else line for line in text.split("\n"))
    return text


def _expand_tabs(line: str) -> str:
    parts = line.split("\t")
    out = parts[0]
    for part in parts[1:]:
        width = Content(out).cell_length
        out += "\u21e5" + " " * (TAB_STOP - 1 - width % TAB_STOP) + part
    return out


def one_line(text: str, newline: str = "\u21b5") -> str:
    """The printable text on one line, newlines shown as a sign."""
    return printable(text.strip("\n")).replace("\n", f"{newline} ")


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
    signs = [Span(m.start(), m.end(), "$warning") for m in _SIGNS.finditer(shown)]
    if signs:
        content = content.add_spans(signs)
    if left_out:
        content = content + Content.styled(f"\n… and {left_out:,} more characters", "italic $muted")
    return content


def literal_line(text: str, style: str | Style = "", *, newline: str = "\u21b5") -> Content:
    """Like ``literal``, on one line."""
    return literal(one_line(text, newline), style)
