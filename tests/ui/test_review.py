"""Review: one key is one decision in the database, and nothing but the reader moves the card."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.widgets import TextArea

from alpaca_tui.store import database, samples
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.widgets.lines import TextView

from . import seeding
from .conftest import Opened, look, screen_text, toasts


def pending(project: Path) -> list[int]:
    db = database.open_project(project)
    try:
        return [row.id for row in samples.page(db, "pending", limit=1000)]
    finally:
        db.conn.close()


def sample(project: Path, sample_id: int) -> samples.SampleRow:
    db = database.open_project(project)
    try:
        found = samples.get(db, sample_id)
        assert found is not None
        return found
    finally:
        db.conn.close()


def shown(app: CockpitApp) -> int | None:
    return app.screen._card.row.id if app.screen._card else None  # type: ignore[attr-defined]


async def test_accept_reject_skip_back_undo_redo(opened: Opened, project: Path) -> None:
    first, second, third, fourth = pending(project)[:4]
    async with opened(project) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert shown(app) == first
        await pilot.press("a")
        assert sample(project, first).state == "accepted" and shown(app) == second
        await pilot.press("r")
        assert sample(project, second).state == "rejected" and shown(app) == third
        await pilot.press("s")
        assert sample(project, third).state == "pending" and shown(app) == fourth
        await pilot.press("b")
        assert shown(app) == third
        await pilot.press("u")
        assert sample(project, second).state == "pending" and shown(app) == second
        await pilot.press("u")
        assert sample(project, first).state == "pending" and shown(app) == first
        await pilot.press("U", "U")
        assert sample(project, first).state == "accepted"
        assert sample(project, second).state == "rejected" and shown(app) == second


async def test_the_last_card_and_what_comes_then(opened: Opened, project: Path) -> None:
    queue = pending(project)
    async with opened(project) as (app, pilot):
        await pilot.press("2", "s", *["a"] * (len(queue) - 1))
        look(app)
        await pilot.pause()
        assert shown(app) is None
        assert "1 skipped are still pending" in screen_text(app)
        await pilot.press("F")
        assert shown(app) == queue[0]
        await pilot.press("a")
        look(app)
        await pilot.pause()
        assert "Everything is judged" in screen_text(app)
    assert pending(project) == []


async def test_new_arrivals_never_move_the_card(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("2", "s")
        await pilot.pause()
        before = shown(app)
        more = seeding.Seeding(project)
        fresh = (
            "Invent a board game about lighthouses.",
            "Which gift suits a retired sailor?",
            "Whisper a secret to moss.",
        )
        more.calls(1, tasks=tuple((text, "", f"Answer to: {text}") for text in fresh), poor=())
        seeding.close(more.db)
        look(app)
        await pilot.pause()
        assert shown(app) == before
        assert "+3" in screen_text(app).split("\n")[1]


async def test_arrivals_fill_an_empty_screen(opened: Opened, tmp_path: Path) -> None:
    made = seeding.Seeding(tmp_path / "new")
    async with opened(tmp_path / "new") as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert "Nothing to review yet" in screen_text(app)
        made.calls(made.job("generate", seeding.GENERATE_SPEC))
        seeding.close(made.db)
        look(app)
        await pilot.pause()
        assert shown(app) == pending(tmp_path / "new")[0]


async def test_filter_goes_through_the_states_and_rescue_brings_back(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("2", "f")
        assert sample(project, shown(app) or 0).state == "accepted"
        await pilot.press("f", "f")
        filtered = shown(app)
        assert filtered is not None and sample(project, filtered).state == "filtered"
        await pilot.press("a")
        await pilot.pause()
        assert "Press x to rescue it first" in toasts(app)
        assert sample(project, filtered).state == "filtered"
        await pilot.press("x")
        assert sample(project, filtered).state == "pending"


async def test_edit_in_the_users_editor(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "editor.sh"
    script.write_text(
        '#!/bin/sh\nstat -c %a "$1" > ' + str(tmp_path / "mode") + "\n"
        'sed -i "s/^#: output$/#: output\\nA better answer:/" "$1"\n'
    )
    script.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)
    first = pending(project)[0]
    before = sample(project, first)
    async with opened(project) as (app, pilot):
        await pilot.press("2", "e")
        await pilot.pause()
        after = sample(project, first)
        assert after.output == f"A better answer:\n{before.output}"
        assert (after.instruction, after.input) == (before.instruction, before.input)
        assert after.revision == 2 and after.author == "person"
        assert shown(app) == first and "A better answer:" in screen_text(app)
        await pilot.press("u")
        assert sample(project, first).output == before.output
    assert (tmp_path / "mode").read_text().strip() == "600"


@pytest.mark.parametrize(
    ("editor", "said"),
    [("false", "ended with code 1"), ("/no/such/editor", "could not be started"), ("truncate -s 0", "is missing")],
)
async def test_an_editor_that_fails_changes_nothing(
    opened: Opened, project: Path, monkeypatch: pytest.MonkeyPatch, editor: str, said: str
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    first = pending(project)[0]
    async with opened(project) as (app, pilot):
        await pilot.press("2", "e")
        await pilot.pause()
        assert said in toasts(app)
    assert sample(project, first).revision == 1


async def test_edit_inline(opened: Opened, project: Path) -> None:
    first = pending(project)[0]
    async with opened(project) as (app, pilot):
        await pilot.press("2", "i")
        await pilot.pause()
        app.screen.query_one("#edit-output", TextArea).text = "Typed here\nin two lines"
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert sample(project, first).output == "Typed here\nin two lines"
        await pilot.press("i")
        await pilot.pause()
        app.screen.query_one("#edit-output", TextArea).text = "thrown away"
        await pilot.press("escape")
        await pilot.pause()
    assert sample(project, first).output == "Typed here\nin two lines"


async def test_the_prompt_is_shown_to_the_letter(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("2", "p")
        await pilot.pause()
        text = app.screen.query_one("#reading", TextView).text
        assert "Below is a numbered list of different tasks" in text
        assert text.count("PROMPT") == 2 and text.count("ANSWER") == 2
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen.query("#card")


async def test_the_neighbour_is_shown_with_what_is_shared_underlined(opened: Opened, project: Path) -> None:
    db = database.open_project(project)
    chosen = next(r.id for r in samples.page(db, limit=1000) if r.instruction.startswith("Cut this product"))
    db.conn.close()
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        app.screen.show_sample(chosen)  # type: ignore[attr-defined]
        await pilot.pause()
        text = screen_text(app)
        assert "Cut this speaker biography down to exactly 25 words." in text
        assert "ROUGE-L 0.67" in text
        strips = app.screen._compositor.render_strips()
        underlined = [s.text for strip in strips[4:] for s in strip if s.style and s.style.underline]
        assert underlined.count("exactly") == 2 and "speaker" not in underlined


async def test_read_only_decides_nothing(opened: Opened, project: Path) -> None:
    before = pending(project)
    async with opened(project, (120, 40), UiOptions(readonly=True)) as (app, pilot):
        await pilot.press("2", "a", "r", "e", "i", "x", "u")
        await pilot.pause()
        assert "Read only" in toasts(app) and "read only" in screen_text(app)
        assert shown(app) == before[0]
    assert pending(project) == before
    assert os.access(project, os.W_OK)  # it was the flag that refused, not the file system
