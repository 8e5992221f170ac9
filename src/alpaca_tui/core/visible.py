"""Text from models, files and people with nothing in it that could drive a terminal or hide in it.

Control characters become visible signs, and nothing can turn a line or be invisible. What the cockpit shows and what
the command line prints to a terminal goes through here.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

TAB_STOP = 4
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
SIGNS = re.compile(f"[\u2400-\u2424{INVISIBLE_SIGN}{BIDI_SIGN}{UNENCODABLE_SIGN}\u21e5]")
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
        width = cell_len(out)
        out += "\u21e5" + " " * (TAB_STOP - 1 - width % TAB_STOP) + part
    return out


def one_line(text: str, newline: str = "\u21b5") -> str:
    """The printable text on one line, newlines shown as a sign."""
    return printable(text.strip("\n")).replace("\n", f"{newline} ")
