"""Review by query, by number, in another order, on a selection, with reasons and tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.query import parse
from alpaca_tui.store import browse, database, datasets, finding
from alpaca_tui.ui.widgets.ask import AskLine
from alpaca_tui.ui.widgets.paged import PagedList

from .conftest import Opened, screen_text, toasts
from .test_review import pending, sample, shown


def found(project: Path, query: str, order: finding.Order = "oldest") -> list[int]:
    db = database.open_project(project)
    try:
        return finding.sample_ids(db, parse(query), order)
    finally:
        db.conn.close()


def reasons(project: Path) -> list[tuple[int, str | None]]:
    db = database.open_project(project)
    try:
        return [(d["sample_id"], d["reason"]) for d in db["decisions"].rows_where("undone_at IS NULL AND id > 8")]
    finally:
        db.conn.close()


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_a_query_decides_what_comes(opened: Opened, project: Path, size: tuple[int, int]) -> None:
    wanted = found(project, "status:pending len>8 -kind:classification")
    assert 2 < len(wanted) < len(pending(project))
    async with opened(project, size) as (app, pilot):
        await pilot.press("2", "slash", *" len>8 -kind:classification", "enter")
        await pilot.pause()
        assert shown(app) == wanted[0] and "len>8" in screen_text(app)
        await pilot.press("a", "s")
        assert shown(app) == wanted[2]
        await pilot.press("slash", *" rouge>", "enter")
        await pilot.pause()
        assert "rouge needs a number" in toasts(app) and shown(app) == wanted[2]
        assert app.screen.query_one(AskLine).has_focus
        await pilot.press("escape", "escape")
        assert shown(app) == pending(project)[0]


async def test_a_query_that_finds_nothing_says_what_to_do(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await pilot.press("2", "slash", *" unfindable", "enter")
        await pilot.pause()
        assert "No sample is found by status:pending unfindable" in screen_text(app)
        await pilot.press("escape")
        assert shown(app) == pending(project)[0]


async def test_sorting_goes_through_every_order(opened: Opened, project: Path) -> None:
    async with opened(project, (140, 45)) as (app, pilot):
        await pilot.press("2")
        for order in ("newest", "nearest", "longest", "random", "oldest"):
            await pilot.press("S")
            await pilot.pause()
            assert shown(app) == found(project, "status:pending", order)[0]
            assert order == "oldest" or finding.ORDER_NAMES[order] in screen_text(app)


async def test_a_number_shows_its_sample(opened: Opened, project: Path) -> None:
    first = pending(project)[0]
    async with opened(project) as (app, pilot):
        await pilot.press("2", "number_sign", "3", "enter")
        await pilot.pause()
        assert shown(app) == 3 and "now accepted" in screen_text(app)
        await pilot.press("s")
        assert shown(app) == first
        await pilot.press("number_sign", *"9999", "enter")
        assert "There is no sample 9999" in toasts(app) and shown(app) == first


async def test_rejecting_for_a_reason_and_repeating_it(opened: Opened, project: Path) -> None:
    first, second, third, fourth = pending(project)[:4]
    (project / "config.toml").write_text('[review]\nreasons = ["too long", "[b]bold[/b]"]\n')
    async with opened(project, (80, 24)) as (app, pilot):
        await pilot.press("2", "R")
        await pilot.pause()
        assert "1 too long" in screen_text(app) and "2 [b]bold[/b]" in screen_text(app)
        await pilot.press("2", "full_stop", "R", "escape", "a", "full_stop")
        assert reasons(project) == [(first, "[b]bold[/b]"), (second, "[b]bold[/b]"), (third, None), (fourth, None)]
        assert sample(project, second).state == "rejected" and sample(project, fourth).state == "accepted"
        await pilot.press("R", "7")  # there is no seventh reason, and it is not the way to Jobs
        await pilot.pause()
        assert app.screen.NAME == "review" and "1 too long" in screen_text(app)  # type: ignore[attr-defined]
        await pilot.press("escape", "7")
        assert app.screen.NAME == "jobs"  # type: ignore[attr-defined]
    assert found(project, 'reason:"[b]bold[/b]"') == [first, second]


async def test_keys_typed_at_once_are_one_rejection_with_its_reason(opened: Opened, project: Path) -> None:
    first, second = pending(project)[:2]
    async with opened(project) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        for key in "R3a":
            app.simulate_key(key)
        await pilot.pause(0.3)
        assert reasons(project) == [(first, "unclear instruction"), (second, None)]


async def test_a_selection_is_judged_at_once_and_undone_at_once(opened: Opened, project: Path) -> None:
    queue = pending(project)
    async with opened(project) as (app, pilot):
        await pilot.press("2", "v", "s", "v", "v")
        await pilot.pause()
        assert "3 selected" in screen_text(app) and shown(app) == queue[4]
        await pilot.press("b", "v")
        assert "2 selected" in screen_text(app)
        await pilot.press("a")
        await pilot.pause()
        assert [sample(project, i).state for i in queue[:4]] == ["accepted", "pending", "accepted", "pending"]
        assert shown(app) == queue[3]
        await pilot.press("u")
        await pilot.pause()
        assert pending(project) == queue and "accept of 2 taken back" in screen_text(app)
        await pilot.press("V", "r")
        await pilot.pause()
        assert pending(project) == []
        await pilot.press("u")
        assert pending(project) == queue
        await pilot.press("v", "escape", "a")
        assert len(pending(project)) == len(queue) - 1


async def test_tags_are_given_shown_found_and_taken(opened: Opened, project: Path) -> None:
    first, second = pending(project)[:2]
    async with opened(project) as (app, pilot):
        await pilot.press("2", "t", *"math", "enter")
        await pilot.pause()
        assert shown(app) == first and "#math" in screen_text(app)
        await pilot.press("s", "full_stop")
        await pilot.pause()
        assert found(project, "tag:math") == [first, second]
        await pilot.press("t", *"-math", "enter")
        await pilot.pause()
        assert found(project, "tag:math") == [first]
        await pilot.press("u", "u")
        await pilot.pause()
        assert found(project, "tag:math") == [first]
        await pilot.press("slash", *" tag:math", "enter")
        await pilot.pause()
        assert shown(app) == first
        db = database.open_project(project)
        assert browse.tag_counts(db) == [("math", 1)]
        db.conn.close()


def in_doubt(project: Path, sample_id: int) -> None:
    db = database.open_project(project)
    db.execute(
        "UPDATE candidates SET is_classification = 0, low_margin = 1, classification_margin = -0.12 "
        "WHERE id = (SELECT candidate_id FROM samples WHERE id = ?)",
        [sample_id],
    )
    db.conn.close()


async def test_a_close_call_of_classification_is_said_on_the_card_and_flipped(opened: Opened, project: Path) -> None:
    first = pending(project)[0]
    in_doubt(project, first)
    assert found(project, "doubtful:yes") == found(project, "margin<0.5") == [first]
    async with opened(project) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert shown(app) == first
        assert "classification: no, margin 0.12 — c flips" in screen_text(app)
        await pilot.press("c")
        await pilot.pause()
        assert shown(app) == pending(project)[0] != first
        assert f"#{first} is classification now: new instances come" in toasts(app)
        assert found(project, "rule:reclassified status:filtered") == [first]
        assert found(project, "doubtful:yes") == []
        await pilot.press("u")
        await pilot.pause()
        assert shown(app) == first == pending(project)[0]
        assert "classification: no, margin 0.12" in screen_text(app)
        await pilot.press("U", "number_sign", *str(first), "enter")
        await pilot.pause()
        assert "classification: yes, said a person" in screen_text(app)


async def test_a_flip_is_on_one_card_never_on_a_selection(opened: Opened, project: Path) -> None:
    first = pending(project)[0]
    in_doubt(project, first)
    async with opened(project) as (app, pilot):
        await pilot.press("2", "V", "c")
        await pilot.pause()
        assert "One instruction is flipped at a time" in toasts(app)
    assert found(project, "doubtful:yes") == [first]


async def test_seeds_and_jobs_take_queries_too(opened: Opened, project: Path) -> None:
    async with opened(project, (120, 40)) as (app, pilot):
        await pilot.press("3", "slash", *"kind:classification len<20", "enter")
        await pilot.pause()
        rows = app.screen.query_one("#seed-list", PagedList)
        assert 0 < rows.count < 175
        assert all(row and row.is_classification and len(row.instruction.split()) < 20 for row in [rows.row(0)])
        await pilot.press("slash", *" kind:no", "enter")
        assert "kind cannot be 'no'" in toasts(app)
        await pilot.press("escape", "7", "slash", *"status:interrupted", "enter")
        await pilot.pause()
        jobs = app.screen.query_one("#job-list", PagedList)
        assert [jobs.row(i).row.state for i in range(jobs.count)] == ["interrupted"]  # type: ignore[union-attr]
        await pilot.press("slash", *["backspace"] * 20, "enter")
        await pilot.pause()
        assert jobs.count == 5


def test_a_data_set_of_what_a_query_finds(project: Path) -> None:
    accepted = found(project, "status:accepted len<9")
    db = database.open_project(project)
    row = datasets.freeze(db, "short", query=parse("len<9"))
    examples = datasets.examples(db, row.id)
    assert 1 < len(examples) == len(accepted) and all(len(e.instruction.split()) < 9 for e in examples)
    assert row.card["query"] == "len<9"
    with pytest.raises(AlpacaError, match="no accepted sample is found by unfindable"):
        datasets.freeze(db, "none", query=parse("unfindable"))
    db.conn.close()
