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
    "faint": "#858e9d",
    "line": "#3a4150",
    "raw": "#6b7484",
    "smooth": "#e3b778",
    "held-out": "#7fb4d6",
    "human": "#7fb4d6",
    "machine": "#e3b778",
    "match": "#e3b778",
}

FALLBACK_LIGHT = {
    "muted": "#5a616c",
    "faint": "#646b77",
    "line": "#c5c9d0",
    "raw": "#8b8578",
    "smooth": "#85540b",
    "held-out": "#1f6390",
    "human": "#1f6390",
    "machine": "#85540b",
    "match": "#80530b",
}


@cache
def themes() -> tuple[Theme, ...]:
    """Our themes, dark ones first."""
    found = []
    for path in sorted((resources.styles_dir() / "themes").glob("*.toml")):
        values = tomllib.loads(path.read_text("utf-8"))
        found.append(Theme(**{**values, "variables": FALLBACK_VARIABLES | values.get("variables", {})}))
    return tuple(sorted(found, key=lambda theme: (not theme.dark, theme.name)))
