"""ROUGE-L between two texts: the tokenizers, the F-measure, and the common subsequence to highlight.

The score follows Lin (2004), "ROUGE: a package for automatic evaluation of summaries", section 3, as the package
``rouge_score`` 0.1.2 computes it, operation for operation, so that ties at a threshold agree to the last bit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal

from rapidfuzz.distance import LCSseq

from alpaca_tui.core.errors import UsageError

TokenizerName = Literal["rouge", "unicode"]
Span = tuple[int, int]
_Token = tuple[str, int, int]

_ASCII_WORD = re.compile(r"[a-z0-9]+")

# Scripts written without spaces between words: every character counts as a token.
# Hiragana and Katakana, Han with its extensions, Thai, Lao, Myanmar, Khmer, Tai Le to Tai Tham.
_BY_CHARACTER = (
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ecd\u1000-\u103f\u1050-\u108f\u1780-\u17d3"
    "\u1950-\u19df\u1a20-\u1a7f"
)
_JOINERS = "\u200c\u200d"


@cache
def _marks() -> str:
    """The combining marks as a regular-expression class; ``\\w`` leaves them out and would cut Hindi words."""
    ranges: list[list[int]] = []
    for block in (range(0x300, 0x1F000), range(0xE0100, 0xE01F0)):
        for point in block:
            if unicodedata.category(chr(point))[0] == "M":
                if ranges and ranges[-1][1] == point - 1:
                    ranges[-1][1] = point
                else:
                    ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@cache
def _unicode_word() -> re.Pattern[str]:
    """One token: a character of a script without spaces, or a word with its inner apostrophes and decimal points.

    Source: Unicode Standard Annex 29, rules WB4 to WB12, simplified.
    """
    follow = f"[{_marks()}{_JOINERS}]*"
    single = f"[{_BY_CHARACTER}]{follow}"
    unit = f"(?![{_BY_CHARACTER}])[^\\W_]{follow}"
    inner = f"['’.:·](?=(?![{_BY_CHARACTER}])[^\\W\\d_])|[.,'](?<=\\d[.,'])(?=\\d)"
    return re.compile(f"{single}|(?:{unit})+(?:(?:{inner})(?:{unit})+)*")


# What ``_unicode_word`` comes to in ASCII, where folding is lower-casing; several times faster.
_ASCII_UNICODE_WORD = re.compile(r"[a-z0-9]+(?:(?:['.:](?=[a-z])|[.,'](?<=\d.)(?=\d))[a-z0-9]+)*")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def tokenize(text: str, tokenizer: TokenizerName = "rouge") -> list[str]:
    """The tokens of ``text``.

    ``rouge``: rouge-score's default without a stemmer, runs of ``[a-z0-9]`` in the lower-cased text.
    ``unicode``: words by Unicode's rules after NFKC and case folding; scripts without spaces by character.
    Raises UsageError for another name.
    """
    if tokenizer == "rouge":
        return _ASCII_WORD.findall(text.lower())
    if tokenizer == "unicode" and text.isascii():
        return _ASCII_UNICODE_WORD.findall(text.lower())
    if tokenizer == "unicode":
        return _unicode_word().findall(_fold(text))
    raise UsageError(f"unknown tokenizer {tokenizer!r}: choose rouge or unicode")


def f_measure(common: int, a_length: int, b_length: int) -> float:
    """The F-measure of a common subsequence of ``common`` tokens; symmetric in the two lengths, which are tokens.

    Written as rouge-score writes it: another order of the same operations rounds differently and breaks ties.
    """
    if not common:
        return 0.0
    precision = common / b_length
    recall = common / a_length
    return 2 * precision * recall / (precision + recall)


def _coded(a_tokens: Sequence[str], b_tokens: Sequence[str]) -> tuple[list[int], list[int]]:
    codes: dict[str, int] = {}
    return (
        [codes.setdefault(token, len(codes)) for token in a_tokens],
        [codes.setdefault(token, len(codes)) for token in b_tokens],
    )


def rouge_l(a_tokens: Sequence[str], b_tokens: Sequence[str]) -> float:
    """ROUGE-L's F-measure of two token lists, from 0 to 1; 0 when either is empty."""
    if not a_tokens or not b_tokens:
        return 0.0
    a, b = _coded(a_tokens, b_tokens)
    return f_measure(LCSseq.similarity(a, b), len(a), len(b))


def rouge_l_text(a_text: str, b_text: str, tokenizer: TokenizerName = "rouge") -> float:
    """ROUGE-L's F-measure of two texts, from 0 to 1."""
    return rouge_l(tokenize(a_text, tokenizer), tokenize(b_text, tokenizer))


def _clusters(text: str) -> list[Span]:
    """Pieces that fold on their own: a character with the marks, joiners and Hangul vowels that follow it."""
    starts = [
        i
        for i, c in enumerate(text)
        if not (unicodedata.category(c)[0] == "M" or "\u1160" <= c <= "\u11ff" or c in "\uff9e\uff9f")
    ]
    if text and (not starts or starts[0] != 0):
        starts.insert(0, 0)
    return list(pairwise([*starts, len(text)]))


def _token_spans(text: str, tokenizer: TokenizerName) -> list[_Token]:
    """Every token with the span of ``text`` it was read from (folding may change lengths)."""
    if tokenizer == "rouge":
        pieces = [(c.lower(), i, i + 1) for i, c in enumerate(text)]
        pattern = _ASCII_WORD
    else:
        pieces = [(_fold(text[start:end]), start, end) for start, end in _clusters(text)]
        pattern = _unicode_word()
    origin = [(start, end) for piece, start, end in pieces for _ in piece]
    folded = "".join(piece for piece, _, _ in pieces)
    return [(found.group(), origin[found.start()][0], origin[found.end() - 1][1]) for found in pattern.finditer(folded)]


def common_subsequence(a_text: str, b_text: str, tokenizer: TokenizerName = "rouge") -> tuple[list[Span], list[Span]]:
    """The tokens of one longest common subsequence, as (start, end) character spans in each text.

    The two lists are parallel: the i-th span of the first text holds the same token as the i-th of the second.
    """
    a_spans, b_spans = _token_spans(a_text, tokenizer), _token_spans(b_text, tokenizer)
    a, b = _coded([token for token, _, _ in a_spans], [token for token, _, _ in b_spans])
    a_out: list[Span] = []
    b_out: list[Span] = []
    for block in LCSseq.editops(a, b).as_matching_blocks():
        a_out.extend((start, end) for _, start, end in a_spans[block.a : block.a + block.size])
        b_out.extend((start, end) for _, start, end in b_spans[block.b : block.b + block.size])
    return a_out, b_out
