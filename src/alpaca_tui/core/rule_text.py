"""What the rules measure on a single text: words, repetition, listed words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from alpaca_tui.core.rouge import TokenizerName, tokenize

BANNED_WORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
    *("video", "videos", "audio", "music", "flowchart", "flowcharts", "diagram", "diagrams"),
)
"""What a text model can neither see nor make. Source: Self-Instruct's filter; from "video" on, Alpaca's."""

CONTENT_WORDS = (
    *("porn", "porno", "pornography", "pornographic", "hentai", "xxx", "nudes", "erotic", "erotica", "orgasm"),
    *("orgasms", "blowjob", "masturbate", "masturbates", "masturbating", "masturbation", "fetish", "incest"),
    *("bestiality", "rape", "rapes", "raping", "have sex", "having sex", "had sex", "sex with", "sex toy"),
    *("sex toys", "sexual intercourse", "sexually explicit", "naked woman", "naked women", "naked girl"),
    *("naked girls", "kill yourself", "kill myself", "commit suicide", "build a bomb", "make a bomb"),
)
"""Sexual content, self-harm and weapons, as a small model drifts into them. A net with wide meshes, not a judgement:
it knows words, not meaning, and English only. Sober words ("sexual health", "suicide rate") pass on purpose."""


def normalise(text: str) -> str:
    """The text for exact comparison: NFKC, case folded, white space collapsed, closing punctuation dropped."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .!?;:。！？")


def count_words(text: str, tokenizer: TokenizerName) -> int:
    """Words between white space, as Self-Instruct counts them; tokens with ``unicode`` (Chinese has no spaces)."""
    return len(text.split()) if tokenizer == "rouge" else len(tokenize(text, tokenizer))


@lru_cache(maxsize=32)
def _listed(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    phrases = "|".join(r"\s+".join(map(re.escape, phrase.casefold().split())) for phrase in longest_first)
    return re.compile(rf"(?<!\w)(?:{phrases})(?!\w)")


def find_listed(text: str, words: tuple[str, ...]) -> str | None:
    """The first of ``words`` (or phrases) in the text, as whole words in any case; None if there is none."""
    found = _listed(words).search(text.casefold()) if words else None
    return found.group() if found else None


def starts_with_any(text: str, stems: Iterable[str]) -> str | None:
    """The first word of the text that begins with one of ``stems``; None if there is none."""
    stems = tuple(stems)
    return next((word for word in tokenize(text, "unicode") if word.startswith(stems)), None)


def repeated_share(tokens: Sequence[str], n: int) -> float:
    """The share, from 0 to 1, of n-grams that stood earlier in the text already."""
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def longest_loop(tokens: Sequence[str], longest_phrase: int) -> tuple[int, tuple[str, ...]]:
    """The phrase of up to ``longest_phrase`` tokens that is said most often in a row: (times, phrase).

    Phrases of digits alone don't count, for rows of a matrix are not a loop.
    """
    best: tuple[int, tuple[str, ...]] = (1, ())
    for size in range(1, longest_phrase + 1):
        run = 0
        for i in range(size, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - size] else 0
            times = run // size + 1
            if times > best[0]:
                phrase = tuple(tokens[i - size + 1 : i + 1])
                if not all(token.isdigit() for token in phrase):
                    best = (times, phrase)
    return best
