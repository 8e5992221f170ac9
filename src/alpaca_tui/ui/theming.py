"""Colour themes from styles/themes/*.toml."""

from __future__ import annotations

import tomllib
from functools import cache

from textual.theme import Theme

from alpaca_tui import resources

DEFAULT = "alpaca-night"

# Colours of our own, for themes that don't name them (Textual's).
FALLBACK_VARIABLES = {
    "muted": "#8b93a1",
    "faint": "#5a6270",
    "line": "#3a4150",
    "raw": "#6b7484",
    "smooth": "#e3b778",
    "held-out": "#7fb4d6",
    "human": "#7fb4d6",
    "machine": "#e3b778",
    "match": "#e3b778",
}


@cache
def themes() -> tuple[Theme, ...]:
    """Our themes, dark ones first."""
    found = []
    for path in sorted((resources.styles_dir() / "themes").glob("*.toml")):
        values = tomllib.loads(path.read_text("utf-8"))
        found.append(Theme(**{**values, "variables": FALLBACK_VARIABLES | values.get("variables", {})}))
    return tuple(sorted(found, key=lambda theme: (not theme.dark, theme.name)))
