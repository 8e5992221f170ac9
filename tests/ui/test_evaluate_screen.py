"""Evaluate: figures side by side, differences that stand out, and blind judging that names nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alpaca_tui.store import comparisons, database, datasets, evaluations, projects, suites
from alpaca_tui.store.comparisons import Comparison
from alpaca_tui.ui import evaluation_view
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.widgets.lines import TextView

from . import seeding
from .conftest import Opened, look, screen_text, toasts
from .test_hostile import CORPUS, check

BASE, TUNED = "The plain answer of one.", "The better answer of another."
NAMES = re.compile(r"smollm2|job:2|tuned|base", re.IGNORECASE)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A project in which base and tuned model have answered six tasks, the first of them alike."""
    made = seeding.Seeding(tmp_path / "wool")
    records = [("held_out", f"Name thing number {i}.", "", f"Thing {i}.") for i in range(6)]
    suite = suites.held_out(made.db, datasets.take(made.db, "first", records))
    job = made.job("evaluate", {"dataset": "first", "models": ["smollm2-135m", "job:2"]})
    for model, says in (("smollm2-135m", BASE), ("job:2", TUNED)):
        row = evaluations.get(made.db, made.scored(job, suite, model, 3.0, 0.2, 5, says=says))
        made.db.execute(
            "UPDATE evaluation_answers SET output = 'Alike.' WHERE evaluation_id = ? AND position = 0", [row.id]
        )
    seeding.close(made.db)
    return tmp_path / "wool"


def journal(project: Path) -> Comparison:
    db = database.open_project(project)
    found = comparisons.find_comparison(db, *evaluations.newest_pair(db))
    assert found is not None
    return found


def panes(app: CockpitApp) -> dict[str, str]:
    return {view.id or "": view.text for view in app.screen.query(TextView)}


def key_for(app: CockpitApp, text: str) -> str:
    """The key that prefers the side on which the text stands."""
    return "left" if text in panes(app)["blind-left"] else "right"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_blind_judging_names_nobody_until_the_end(opened: Opened, judged: Path, size: tuple[int, int]) -> None:
    async with opened(judged, size) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        for done in range(5):
            text = screen_text(app)
            assert f"{done} judged, {5 - done} left" in text and f"Task {done + 1} of 5" in text
            assert NAMES.search(text) is None
            assert {panes(app)["blind-left"], panes(app)["blind-right"]} == {BASE, TUNED}
            assert "Name thing number" in panes(app)["blind-task"]
            await pilot.press(key_for(app, TUNED) if done != 2 else "t")
            await pilot.pause()
        text = screen_text(app)
        assert "Every task is judged" in text and "job:2 wins 90 %" in text
        assert "On 1 further tasks both wrote the same." in text
        await pilot.press("escape")
        await pilot.pause()
        assert "job:2 wins 90 %" in screen_text(app)
    tally = journal(judged).standing().tally
    assert (tally.first, tally.second, tally.tie) == (0, 4, 1)


async def test_every_key_is_stored_at_once_and_a_restart_goes_on(opened: Opened, judged: Path) -> None:
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "b", "left", "right", "t", "u", "s")
        await pilot.pause()
        assert [j.verdict for j in journal(judged).judgements()] == ["left", "right"]
        shown = panes(app)
    # Nothing was closed or saved: the next cockpit shows what is still to be judged, in the same order.
    async with opened(judged) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        assert "2 judged, 3 left, result hidden" in screen_text(app)
        await pilot.press("b")
        await pilot.pause()
        assert panes(app) != shown  # the skipped one comes first again
        await pilot.press("b", "u", "U", "u", "u", "u", "u")
        await pilot.pause()
        assert journal(judged).judgements() == []
        assert "There is nothing to undo" in toasts(app)
        await pilot.press("U", "U", "U", "U")
        await pilot.pause()
        assert [j.verdict for j in journal(judged).judgements()] == ["left", "right", "both_bad"]
        assert "There is nothing to redo" in toasts(app)


async def test_the_result_is_shown_after_a_judgement_and_on_request_only(opened: Opened, judged: Path) -> None:
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "b", "r")
        await pilot.pause()
        assert "Nothing is judged yet" in toasts(app) and len(app.screen_stack) == 2
        await pilot.press(key_for(app, TUNED), "r")
        await pilot.pause()
        assert "Look at the result with 4 still to be judged?" in screen_text(app)
        await pilot.press("n")
        await pilot.pause()
        assert not journal(judged).revealed
        await pilot.press("r", "y")
        await pilot.pause()
        text = screen_text(app)
        assert "job:2 wins 100 %" in text and "Not enough judgements to tell" in text
        await pilot.press("escape", "left")
        await pilot.pause()
        assert journal(judged).standing().after_reveal == 1


async def test_a_task_that_another_window_judged_is_not_judged_twice(opened: Opened, judged: Path) -> None:
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        elsewhere = comparisons.Sitting(journal(judged))
        elsewhere.judge("tie")
        await pilot.press("left")
        await pilot.pause()
        assert "judged meanwhile" in toasts(app) and "left is better" not in screen_text(app)
        assert "1 judged, 4 left" in screen_text(app)
        assert [j.verdict for j in journal(judged).judgements()] == ["tie"]


async def test_the_reference_is_hidden_until_asked_for(opened: Opened, judged: Path) -> None:
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        assert "REFERENCE" not in panes(app)["blind-task"]
        await pilot.press("f")
        await pilot.pause()
        assert "REFERENCE\nThing " in panes(app)["blind-task"]
        await pilot.press("t")
        await pilot.pause()
        assert "REFERENCE" not in panes(app)["blind-task"]


async def test_help_of_the_blind_screen_lists_its_keys(opened: Opened, judged: Path) -> None:
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "b", "question_mark")
        await pilot.pause()
        text = screen_text(app)
        assert "The left answer is better" in text and "Both" not in text.split("\n")[0]


async def test_read_only_looks_and_does_not_judge(opened: Opened, judged: Path) -> None:
    async with opened(judged, options=UiOptions(readonly=True)) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        assert "Read only" in toasts(app) and len(app.screen_stack) == 1


async def test_differences_stand_out_and_tasks_are_ordered_by_them(opened: Opened, judged: Path) -> None:
    one, other = evaluation_view.written(BASE, TUNED), evaluation_view.written(TUNED, BASE)
    bold = [one.plain[s.start : s.end] for s in one.spans if s.style == evaluation_view.DIFFERENT]
    assert [part.strip() for part in bold] == ["plain", "one."]
    assert one.plain == BASE and other.plain == TUNED
    db = database.open_project(judged)
    db.execute("UPDATE evaluation_answers SET rouge_l = 0.9 WHERE evaluation_id = 2 AND position = 4")
    db.conn.close()
    async with opened(judged) as (app, pilot):
        await pilot.press("6", "d")
        await pilot.pause()
        text = screen_text(app)
        assert "Held-out task 1 of 6" in text and "most gained in ROUGE-L first" in text
        assert "Name thing number 4." in panes(app)["task"]
        await pilot.press("d")
        await pilot.pause()
        assert "most lost" in screen_text(app) and "Name thing number 4." not in panes(app)["task"]


async def test_another_two_models_can_be_chosen(opened: Opened, judged: Path) -> None:
    db = database.open_project(judged)
    made = seeding.Seeding(judged)
    job = made.job("evaluate", {"dataset": "first", "models": ["job:9"]})
    made.scored(job, suites.find(db, "first"), "job:9", 2.5, 0.3, 5, says="A third answer.")
    made.db.conn.close()
    db.conn.close()
    async with opened(judged) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        seen = set()
        for _ in range(3):
            seen.add((panes(app)["output-0"].split()[0], panes(app)["output-1"].split()[0]))
            await pilot.press("o")
            await pilot.pause()
        assert seen == {("smollm2-135m", "job:2"), ("smollm2-135m", "job:9"), ("job:2", "job:9")}


async def test_an_empty_project_says_what_to_do_next(opened: Opened, tmp_path: Path) -> None:
    projects.ensure(tmp_path / "new")[0].conn.close()
    async with opened(tmp_path / "new", (80, 24)) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        text = screen_text(app)
        assert "Nothing evaluated yet." in text and "n scores models on the seed tasks" in text
        assert "Judging takes two models" in toasts(app)
        await pilot.press("n")
        await pilot.pause()
        assert "(the seed tasks)" in screen_text(app)


@pytest.mark.parametrize("size", [(50, 16), (80, 24), (140, 40)])
async def test_hostile_answers_are_inert_on_the_blind_screen(
    opened: Opened, judged: Path, size: tuple[int, int]
) -> None:
    db = database.open_project(judged)
    for position, text in enumerate((*CORPUS, "x" * 100_000)[:6]):
        args = [text, position]
        db.execute("UPDATE evaluation_answers SET output = ? || evaluation_id WHERE position = ?", args)
        db.execute("UPDATE suite_tasks SET instruction = ?1, input = ?1, output = ?1 WHERE position = ?2", args)
    db.execute("UPDATE evaluations SET model = model || ?", [" ".join(CORPUS)])
    db.conn.close()
    async with opened(judged, size) as (app, pilot):
        await pilot.press("6", "b")
        await pilot.pause()
        for key in ("f", "t", "left", "b", "right", "f", "s", "t", "left"):
            check(app, size)
            await pilot.press(key)
            await pilot.pause()
        text = check(app, size)
        assert "Every task is judged" in text
        await pilot.press("escape")
        await pilot.pause()
        look(app)
        check(app, size)


async def test_tasks_are_found_by_the_grammar_of_every_list(opened: Opened, filled: Path) -> None:
    async with opened(filled) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        tasks = list(app.screen._tasks)
        gains = {task.position: app.screen._gain(task.position) for task in tasks}
        low = min(gains.values())
        await pilot.press("slash", *f"gain>{low:.3f}", "enter")
        await pilot.pause()
        assert {t.position for t in app.screen._tasks} == {p for p, gain in gains.items() if gain > round(low, 3)}
        await pilot.press("escape", "slash", *"antonym", "enter")
        await pilot.pause()
        assert "Held-out task 1 of 1 " in screen_text(app) and " antonym ─" in screen_text(app)
        await pilot.press("slash", *"nothing", "enter")
        await pilot.pause()
        said = " ".join(app.screen.query_one("#task", TextView).text.split())
        assert said == "No task is found by antonym nothing. esc shows all."
        await pilot.press("right", "slash", *"gain:x", "enter")
        await pilot.pause()
        assert "cannot read the query" in toasts(app)
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert "Held-out task 1 of 2 " in screen_text(app)
