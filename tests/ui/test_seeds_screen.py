"""The Seeds screen: what each seed led to, and changes that keep what was there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.text import clean_text
from alpaca_tui.store import database, decisions, samples, seeds
from alpaca_tui.ui import editing
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions
from alpaca_tui.ui.widgets.lines import TextView
from alpaca_tui.ui.widgets.paged import PagedList

from .conftest import Opened, look, screen_text, toasts


def pool_ids(project: Path) -> set[int]:
    db = database.open_project(project)
    ids = {entry.id for entry in seeds.pool(db)}
    db.conn.close()
    return ids


def wordings(project: Path, seed_id: int) -> list[str]:
    db = database.open_project(project)
    texts = [r.task.instruction for r in seeds.revisions(db, seed_id)]
    db.conn.close()
    return texts


def usage_of(project: Path) -> dict[int, seeds.SeedUsage]:
    db = database.open_project(project)
    usage = seeds.usage(db)
    db.conn.close()
    return usage


def editor(monkeypatch: pytest.MonkeyPatch, folder: Path, commands: str) -> None:
    """Set an editor that runs shell commands on the file ``$1``."""
    script = folder / "editor.sh"
    script.write_text(f"#!/bin/sh\n{commands}\n")
    script.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)


async def counted(app: CockpitApp, pilot: Pilot[None]) -> PagedList:
    """The list of the Seeds screen, once the usage stands in it."""
    if app.current_mode != "seeds":
        await pilot.press("3")
    for _ in range(1500):  # a slow count rests for long before the next
        await pilot.pause(0.02)
        if app.screen._usage == usage_of(app.project) and not app.screen._stale:  # type: ignore[attr-defined]
            return app.screen.query_one(PagedList)
    raise AssertionError("the usage was never shown")


def task_text(app: CockpitApp) -> str:
    return " ".join(app.screen.query_one("#seed-task", TextView).text.split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_counts_stand_beside_each_seed(opened: Opened, filled: Path, size: tuple[int, int]) -> None:
    usage = usage_of(filled)
    async with opened(filled, size) as (app, pilot):
        rows = await counted(app, pilot)
        head = next(line for line in screen_text(app).split("\n") if "drawn" in line)
        assert head.index("drawn") < head.index("acc.") < head.index("rej.")
        for order in ("by id", "most drawn", "most fruitful"):
            assert f"(175), {order}" in screen_text(app)
            ids = []
            for line in rows.shown:
                id, sign, drawn, accepted, rejected = line.removeprefix("▸").split()[:5]
                known = usage[int(id)]
                assert (sign, int(drawn), int(accepted), int(rejected)) == (
                    "●", known.drawn, known.accepted, known.rejected
                )  # fmt: skip
                ids.append(int(id))
            if order == "by id":
                assert ids == sorted(ids)
            elif order == "most drawn":
                assert usage[ids[0]].drawn == max(u.drawn for u in usage.values()) > 1
                assert [usage[i].drawn for i in ids] == sorted((usage[i].drawn for i in ids), reverse=True)
            else:
                judged = [usage[i] for i in ids if usage[i].accepted + usage[i].rejected]
                shares = [u.accepted / (u.accepted + u.rejected) for u in judged]
                assert shares and shares == sorted(shares, reverse=True) and shares[0] > 0
                best = judged[0]
                text = task_text(app)
                assert f"drawn {best.drawn} time" in text and f"{best.candidates} instructions" in text
                assert f"{best.accepted} accepted" in text and f"{best.pending} pending" in text
            await pilot.press("o")
            await pilot.pause()


async def test_a_decision_changes_the_counts(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        await counted(app, pilot)
        before = usage_of(project)
        db = database.open_project(project)
        decisions.decide(db, "accept", [r.id for r in samples.page(db, limit=1000) if r.state == "pending"])
        db.conn.close()
        look(app)
        rows = await counted(app, pilot)
        after = usage_of(project)
        assert sum(u.accepted for u in after.values()) > sum(u.accepted for u in before.values())
        await pilot.press("o", "o")
        await pilot.pause()
        first = rows.shown[0].removeprefix("▸").split()
        assert int(first[3]) == after[int(first[0])].accepted > 0


async def test_an_edit_is_a_revision_and_the_old_text_stays(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, tmp_path, r'sed -i "/^#: instruction/a\\\\[b]Better:[/b]" "$1"')
    old = wordings(project, 2)
    async with opened(project) as (app, pilot):
        await counted(app, pilot)
        await pilot.press("j", "e")
        await pilot.pause()
        new = wordings(project, 2)
        assert new == [*old, f"[b]Better:[/b]\n{old[0]}"]
        text = task_text(app)
        assert "revision 2" in text and "[b]Better:[/b]" in text and "Revision 1," in text
        assert app.screen.query_one(PagedList).current.id == 2
        monkeypatch.setenv("EDITOR", "true")
        await pilot.press("e")
        await pilot.pause()
        assert "Nothing was changed" in toasts(app)
    assert len(wordings(project, 2)) == 2


async def test_what_cannot_be_stored_is_kept_for_another_try(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, tmp_path, 'sed -i "s/^no$/perhaps/; s/^#: name/#: name\\nmy_own_name/" "$1"')
    async with opened(project) as (app, pilot):
        await counted(app, pilot)
        await pilot.press("e")
        await pilot.pause()
        assert "yes or no, not 'perhaps'" in toasts(app) and "e opens it again" in toasts(app)
        assert len(wordings(project, 1)) == 1
        seen = tmp_path / "seen"
        editor(monkeypatch, tmp_path, f'cp "$1" {seen}; sed -i "s/^perhaps$/yes/" "$1"')
        await pilot.press("e")
        await pilot.pause()
        first, *rest = seen.read_text().split("\n")
        assert "Not stored: the classification must be yes or no" in first and "my_own_name" in rest
    db = database.open_project(project)
    row = seeds.get(db, 1)
    db.conn.close()
    assert row.revision == 2 and row.task.is_classification and row.task.name.startswith("my_own_name")


async def test_an_emptied_file_forgets_the_kept_text(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(project) as (app, pilot):
        await counted(app, pilot)
        editor(monkeypatch, tmp_path, 'echo "#: instruction" >> "$1"')
        await pilot.press("e")
        await pilot.pause()
        assert "the labels must be" in toasts(app)
        editor(monkeypatch, tmp_path, ': > "$1"')
        await pilot.press("e")
        await pilot.pause()
        assert "The text was forgotten" in toasts(app)
        seen = tmp_path / "seen"
        editor(monkeypatch, tmp_path, f'cp "$1" {seen}')
        await pilot.press("e")
        await pilot.pause()
        assert seen.read_text().startswith("#: Seed alpaca_tui_001.")
    assert len(wordings(project, 1)) == 1


@pytest.mark.parametrize("key", ["n", "A"])
async def test_a_new_seed_appears_in_list_and_pool(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    source = tmp_path / "new.txt"
    source.write_text(
        "#: name\n\n#: instruction\nName the bird.\n#: classification\nyes\n"
        "#: input\nIt caws.\n#: output\ncrow\n#: input\nIt coos.\n#: output\npigeon\n"
    )
    async with opened(project) as (app, pilot):
        rows = await counted(app, pilot)
        monkeypatch.setenv("EDITOR", "true")
        monkeypatch.delenv("VISUAL", raising=False)
        await pilot.press(key)
        await pilot.pause()
        assert rows.count == 175 and "Nothing was changed" in toasts(app)
        editor(monkeypatch, tmp_path, f'cp {source} "$1"')
        await pilot.press(key)
        await pilot.pause()
        assert rows.count == 176 and rows.current.instruction == "Name the bird."
        assert "name_the_bird" in task_text(app) and "OUTPUT 2 pigeon" in task_text(app)
        assert any("C Name the bird." in line for line in rows.shown)
    db = database.open_project(project)
    row = seeds.all_seeds(db)[-1]
    db.conn.close()
    instances = (Instance("It caws.", "crow"), Instance("It coos.", "pigeon"))
    assert row.task == SeedTask("own_001", "name_the_bird", "Name the bird.", instances, True)
    assert row.id in pool_ids(project)


async def test_a_disabled_seed_is_out_of_the_pool_until_it_is_enabled(opened: Opened, project: Path) -> None:
    async with opened(project) as (app, pilot):
        rows = await counted(app, pilot)
        await pilot.press("j", "j", "x")
        await pilot.pause()
        assert 3 not in pool_ids(project) and len(pool_ids(project)) == 174
        assert rows.current.id == 3 and rows.shown[2].removeprefix("▸").split()[1] == "○"
        assert "off: not drawn" in task_text(app)
        await pilot.press("x")
        await pilot.pause()
        assert 3 in pool_ids(project) and rows.shown[2].removeprefix("▸").split()[1] == "●"


async def test_read_only_shows_counts_and_refuses_changes(
    opened: Opened, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, tmp_path, f"touch {tmp_path / 'called'}")
    async with opened(project, options=UiOptions(readonly=True)) as (app, pilot):
        await counted(app, pilot)
        for n, key in enumerate(["e", "n", "A", "x"], 1):
            await pilot.press(key)
            await pilot.pause()
            assert toasts(app).count("Read only") == n
    assert len(pool_ids(project)) == 175 and len(wordings(project, 1)) == 1
    assert not (tmp_path / "called").exists()


async def test_search_takes_the_words_literally(opened: Opened, project: Path) -> None:
    db = database.open_project(project)
    seeds.add(db, [SeedTask("odd", "odd", "Give 100% of [x", (Instance("", "y"),), False)])
    db.conn.close()
    async with opened(project) as (app, pilot):
        rows = await counted(app, pilot)
        await pilot.press("slash", *"0% of [X")
        await pilot.pause()
        assert rows.count == 1 and "Give 100% of [x" in screen_text(app)


words = st.text(max_size=60).map(clean_text) | st.sampled_from(["#: output", "\\#: input 2", "#! x", "a\n\n", "#:"])
pairs = st.lists(st.builds(Instance, words, words.filter(str.strip)), min_size=1, max_size=3).map(tuple)
tasks = st.builds(SeedTask, st.just("own_001"), words, words.filter(str.strip), pairs, st.booleans())


@given(tasks)
def test_an_unchanged_seed_comes_back_to_the_letter(task: SeedTask) -> None:
    text = editing.dump_seed(task)
    assert editing.parse_seed(text, task) == task
    twice = editing.with_problem(editing.with_problem(text, "one"), "two")
    assert "one" not in twice.split("\n")[0] and editing.parse_seed(twice, task) == task


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not none"),
        ("#: name\n#: instruction\nx\n#: classification\nno\n#: input\n#: input\n", "the labels must be"),
        ("#: name\n#: instruction\nx\n#: classification\nno\n#: input\n#: outptu\ny\n", "is no label"),
        ("#: name\n#: instruction\nx\n#: classification\n\n#: input\n#: output\ny\n", "yes or no"),
        ("#: name\n#: instruction\nx\n#: classification\nno\n#: input\n#: output\n\n", "output of instance 1 is empty"),
    ],
)
def test_a_broken_seed_text_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(AlpacaError, match=said):
        editing.parse_seed(text, editing.BLANK)
