"""How the cockpit was asked to look and behave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UiOptions:
    """Flags of the command line."""

    ascii: bool = False
    """No braille and no box-drawing characters."""
    slow: bool = False
    """For a bad link: fewer refreshes, no animation, the terminal's own sixteen colours at most."""
    readonly: bool = False
    """Watch only: nothing is decided, started or stopped."""
    no_mouse: bool = False
    """Leave the mouse to the terminal."""
    bell: bool = False
    """Ring for what happens while nobody looks."""
    restore: bool = False
    """Begin where the cockpit was left, and keep where it is left this time."""
    fresh: bool = False
    """Begin at the first screen all the same."""
    theme: str = "alpaca-night"
    """The colour theme."""

    @property
    def polls_per_second(self) -> float:
        """How often the watcher looks for news."""
        return 2.0 if self.slow else 2.5
