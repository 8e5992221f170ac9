"""Making text from anywhere safe to keep: one place that decides which characters are text."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, and surrogates: none of them is text, some drive a terminal, and a lone
# surrogate cannot be encoded as UTF-8.
_INERT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_SURROGATE = re.compile("[\ud800-\udfff]")

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def inert_json(text: str) -> str:
    """Serialised JSON with controls, bidi controls and surrogates as ``\\uXXXX``: it parses to the same value."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def clean_text(text: str) -> str:
    """The text without control characters and lone surrogates; newline and tab stay, CR and CRLF become LF.

    Idempotent, and the result can always be encoded as UTF-8.
    """
    return _INERT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """The cleaned text on a single line: every run of white space becomes one blank, none at either end."""
    return " ".join(clean_text(text).split())


def capitalise_first(text: str) -> str:
    """The text with its first letter in upper case and the rest untouched ("translate into French" keeps it).

    A first word that carries capitals of its own ("iPhone", "eBay") stays as it is, and so does a letter
    whose upper case is more than one character.
    """
    first_word = text.split(maxsplit=1)[0] if text.strip() else ""
    if any(letter.isupper() for letter in first_word) or len(text[:1].upper()) != 1:
        return text
    return text[:1].upper() + text[1:]


def mended(text: str) -> str:
    """The text with surrogate pairs joined, as JSON streamed in pieces may bring them, and halves replaced by U+FFFD.

    What is left can be encoded, and so be stored and shown.
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
