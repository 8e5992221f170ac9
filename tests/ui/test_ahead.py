"""Screens made before they are shown, and shown again as they were."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from alpaca_tui.ui import bindings, theming

from .conftest import Opened, look, screen_text


async def test_the_other_screens_are_made_while_nobody_types(project: Path, opened: Opened) -> None:
    async with opened(project) as (app, pilot):
        assert list(app._screen_stacks) == ["cockpit"]
        app._ahead.begin()
        app._ahead.begin()  # once is enough
        try:
            for _ in range(600):
                if set(app._screen_stacks) == set(bindings.SCREENS):
                    break
                await asyncio.sleep(0.05)
            assert set(app._screen_stacks) == set(bindings.SCREENS)
            await pilot.pause()
            assert app.current_mode == "cockpit" and "Live generation" in screen_text(app)
            made = {name: stack[0] for name, stack in app._screen_stacks.items()}
            for key, words in (("2", "showing pending"), ("3", "Seed tasks"), ("7", "Log of job"), ("1", "Live")):
                await pilot.press(key)
                await pilot.pause(0.1)
                assert words in screen_text(app)
            assert {name: stack[0] for name, stack in app._screen_stacks.items()} == made
        finally:
            gc.unfreeze()


async def test_a_screen_shown_again_is_not_styled_again(
    project: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(project) as (app, pilot):
        for key in "2121":
            await pilot.press(key)
            await pilot.pause(0.1)
        styled: list[object] = []
        nodes = app.stylesheet.update_nodes
        monkeypatch.setattr(app.stylesheet, "update_nodes", lambda some, **named: nodes(_seen(some, styled), **named))
        await pilot.press("2")
        await pilot.pause(0.1)
        assert app.current_mode == "review" and app.screen not in styled


def _seen(nodes: object, styled: list[object]) -> list[object]:
    found = list(nodes)  # type: ignore[call-overload]
    styled += found
    return found


async def test_a_theme_chosen_on_one_screen_holds_on_the_others(project: Path, opened: Opened) -> None:
    async with opened(project) as (app, pilot):
        for key in "21":
            await pilot.press(key)
            await pilot.pause(0.1)
        before = app._screen_stacks["review"][0].styles.background
        light = next(theme for theme in theming.themes() if not theme.dark)
        app.theme = light.name
        await pilot.pause(0.1)
        await pilot.press("2")
        await pilot.pause(0.1)
        assert app.screen.styles.background != before
        look(app)
        assert app.screen.query_one("#card").styles.background.brightness > 0.5
