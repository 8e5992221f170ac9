"""Whatever a model, a file or a person wrote is shown to the letter: inert, visible, aligned, on every screen."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.core.visible import BIDI, CONTROL, SURROGATES
from alpaca_tui.jobs import live, logs
from alpaca_tui.store import candidates, datasets, decisions, jobs, suites
from alpaca_tui.store.database import write
from alpaca_tui.ui.app import CockpitApp

from . import seeding
from .conftest import Opened, screen_text, toasts

CORPUS = (
    "\x1b]52;c;ZXZpbA==\x07 clipboard",
    "\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H\x1b[31mred\x1b[0m \x9b2J \x90dcs\x9c \x1bP1$r\x1b\\",
    "[/foo] [@click=app.quit]x[/] [INST] do [/INST] [bold red]loud[/] [link=http://evil.example]l[/link] $accent",
    "\u202egnihtyreve\u202c \u2066isolated\u2069 \u200f\u061c",
    "zero\u200bwidth\ufeff \u2060joined\u00ad tag\U000e0041\U000e0042",
    "wide 漢字かな交じり文 한국어 👩\u200d👩\u200d👧 ❤\ufe0f 🇩🇪 e\u0301\u0302\u0303",
    "tab\there\rcarriage\x0bvertical\x0cform\x08back\x7fdel\x00nul\u2028line\u2029paragraph",
    "# heading **bold** <script>alert(1)</script> `code` :smile: %s {0} {{ x }} \\n",
)
LONG = "x" * 100_000
FORBIDDEN = re.compile(f"[{CONTROL}{BIDI}{SURROGATES}]")


def insert_raw(made: seeding.Seeding, job_id: int, text: str) -> int:
    """A sample whose every text is hostile, past all that cleans at the door."""
    with write(made.db):
        completion_id = next(made.db.query("SELECT max(id) AS id FROM completions"))["id"]
        place = made.db.execute("SELECT count(*) FROM candidates").fetchone()[0] + 100
        verdicts = [Verdict("novelty", True, 0.6, 0.7, None, text)]
        candidate_id, _ = candidates.add(made.db, completion_id, place, text, verdicts)
    return made.sample(job_id, candidate_id, text, ParsedInstance(place, text, f"{text}\n{text}"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the corpus in every field that a model or a file can fill."""
    project = tmp_path_factory.mktemp("hostile") / "ho[b]stile[/foo]"
    made = seeding.fill(project)
    everything = " ".join(CORPUS)
    ids = [insert_raw(made, 1, text) for text in (*CORPUS, everything, LONG)]
    with write(made.db):
        made.db.execute("UPDATE sample_verdicts SET detail = ?, rule = rule || '[/x]\x1b[2J'", [everything])
        made.db.execute("UPDATE candidate_verdicts SET detail = ?", [everything])
        made.db.execute("UPDATE completions SET text = ?, model = ?, problem = ?", [everything, everything, everything])
        made.db.execute("UPDATE seed_revisions SET instruction = ?, name = ?", [everything, CORPUS[3]])
        made.db.execute("UPDATE candidates SET instruction = instruction || ?", [everything])
        for sample_id in ids:
            made.db.execute("UPDATE samples SET state = 'pending', rejected_by = NULL WHERE id = ?", [sample_id])
        made.db.execute("UPDATE samples SET rejected_by = ? WHERE state = 'filtered'", ["rule[/x]\x1b[2J"])
        made.db.execute("UPDATE candidates SET rejected_by = ? WHERE stage = 'rejected'", ["nov[/x]\x1b]0;t\x07"])
        made.db.execute(
            "UPDATE jobs SET reason = ?, result = json_object('adapter', ?) WHERE state <> 'running'", [everything] * 2
        )
        for job in jobs.all_jobs(made.db):
            made.db.execute("UPDATE jobs SET spec = json_set(spec, '$.model', ?) WHERE id = ?", [everything, job.id])
            jobs.event(made.db, job.id, "note", everything)
    decisions.decide(made.db, "accept", ids[:3])
    frozen = datasets.freeze(made.db, f"set {everything}", held_out=0.5)
    suite = suites.held_out(made.db, frozen)
    for model in (everything, "job:2"):
        made.scored(3, suite, f"{model} again", 3.0, 0.1, 5, says=f"{model} {everything}")
    slots = tuple(live.Slot(text, text, text, 3) for text in (*CORPUS, LONG[:3000]))
    live.LiveWriter(project, 5).write(live.LiveSnapshot(0.0, everything, 0.5, 10.0, 5.0, slots), force=True)
    logs.log_path(project, 5).write_text("\n".join((*CORPUS, everything, LONG)), "utf-8")
    (project / "config.toml").write_text(config_of(everything), "utf-8")
    seeding.close(made.db)
    return project


def config_of(text: str) -> str:
    """A config.toml whose every free text is hostile: models, reasons, the theme, names and keys of commands."""
    quoted = json.dumps(text.replace("\x7f", ""), ensure_ascii=False)
    short = json.dumps("[/x] [@click=app.quit]y[/] \x1b]52;c;ZXZpbA==\x07")
    return (
        f"[generate]\nmodel = {quoted}\n[review]\nreasons = [{short}, {short}]\n"
        f'[ui]\ntheme = {short}\n[ui.keys]\n{short} = {short}\n"review.tag" = {short}\n'
    )


def check(app: CockpitApp, size: tuple[int, int]) -> str:
    text = screen_text(app)
    lines = text.split("\n")
    assert len(lines) == size[1]
    for line in lines:
        found = FORBIDDEN.search(line)
        assert found is None, repr(line)
        assert cell_len(line) == size[0], repr(line)
        assert not any(unicodedata.category(c) == "Cf" and c not in "\u200c\u200d" for c in line), repr(line)
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            assert segment.style is None or segment.style.link is None
            meta = segment.style.meta if segment.style else {}
            assert "@click" not in meta
    return text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_every_screen_shows_it_inert(opened: Opened, hostile: Path, size: tuple[int, int]) -> None:
    async with opened(hostile, size) as (app, pilot):
        everything = check(app, size)
        for number in "234567":
            await pilot.press(number)
            await pilot.pause()
            everything += check(app, size)
            for key in ("down", "G", "f" if number in "24" else "o" if number == "7" else "k"):
                await pilot.press(key)
                await pilot.pause()
                everything += check(app, size)
        assert "[/foo]" in everything and "[@click=app.quit]x[/]" in everything and "␛]52;c;ZXZpbA==" in everything


async def test_every_card_its_prompt_its_editor_and_the_toasts(opened: Opened, hostile: Path) -> None:
    size = (120, 40)
    async with opened(hostile, size) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        for _ in range(app.snapshot.facts.funnel.pending):
            check(app, size)
            await pilot.press("s")
        await pilot.press("b")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        check(app, size)
        await pilot.press("G", "escape")
        await pilot.pause()
        await pilot.press("i")
        await pilot.pause()
        check(app, size)
        await pilot.press("escape")
        await pilot.pause()
        for text in CORPUS:
            app.say(text, "error")
        await pilot.pause()
        check(app, size)


async def test_dialogs_with_hostile_defaults(opened: Opened, hostile: Path) -> None:
    size = (100, 30)
    async with opened(hostile, size) as (app, pilot):
        for keys in (("1", "n"), ("5", "n"), ("6", "n"), ("7", "S")):
            await pilot.press(*keys)
            await pilot.pause()
            assert len(app.screen_stack) == 2
            check(app, size)
            await pilot.press("escape")
            await pilot.pause()


async def test_blind_answers_reasons_and_queries_in_titles(opened: Opened, hostile: Path) -> None:
    size = (120, 40)
    async with opened(hostile, size) as (app, pilot):
        assert "no command is called [/x] [@click=app.quit]y[/] ␛]52" in toasts(app)
        seen = ""
        for keys in (
            ("6", "b"), ("f",), ("s",), ("r",), ("escape",),  # blind, its reference, another task, its result
            ("2", "R"), ("escape",), ("t",), ("escape",), ("question_mark",), ("escape",),
            ("slash", *"\"[/foo] [INST]\"", "enter"), ("7", "slash", *"\"[/foo] [link=x]\"", "enter"),
            ("4", "slash", *"\"[/foo] [@click=app.quit]x\"", "enter"), ("tab",), ("j",), ("G",), ("enter",),
        ):  # fmt: skip
            await pilot.press(*keys)
            await app.workers.wait_for_complete()
            await pilot.pause()
            seen += check(app, size)
        assert "[@click=app.quit]y[/]" in seen  # the reason
        assert app.is_running


async def test_toasts_their_history_and_the_palette(opened: Opened, hostile: Path) -> None:
    size = (120, 40)
    async with opened(hostile, size) as (app, pilot):
        for text in (*CORPUS, LONG):
            app.say(text, "error")
        await pilot.press("m")
        await pilot.pause()
        text = check(app, size)
        assert "✗ error" in text and "xxxx" in text
        for key in ("pagedown", "pagedown", "G"):
            await pilot.press(key)
            await pilot.pause()
            text += check(app, size)
        assert "␛]52;c;ZXZpbA==" in text or "[/foo] [@click=app.quit]x[/]" in text
        await pilot.press("escape", "colon")
        for query in (CORPUS[0], CORPUS[1], CORPUS[2], CORPUS[3], CORPUS[6], CORPUS[8]):
            app.screen.query_one("CommandInput").value = query.replace("\n", " ")  # type: ignore[attr-defined]
            await app.workers.wait_for_complete()
            await pilot.pause()
            check(app, size)
        await pilot.press("escape")
        assert app.is_running


async def test_a_jobs_end_with_a_hostile_reason(opened: Opened, hostile: Path, tmp_path: Path) -> None:
    import shutil

    from alpaca_tui.store import database

    from .conftest import look

    copy = tmp_path / "copy"
    shutil.copytree(hostile, copy)
    async with opened(copy, (120, 40)) as (app, pilot):
        app.clear_notifications()
        db = database.open_project(copy)
        jobs.set_state(db, 5, "failed", reason=" ".join(CORPUS), exit_code=1)
        db.conn.close()
        look(app)
        await pilot.pause()
        assert "Job 5 (generate) failed: ␛]52;c;ZXZpbA==" in toasts(app)
        check(app, (120, 40))


async def test_what_is_left_out_of_a_long_text_is_counted(opened: Opened, hostile: Path) -> None:
    from alpaca_tui.ui.widgets.lines import TextView

    async with opened(hostile, (120, 40)) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        long = next(i for i in range(1, 200) if (c := _instruction(app, i)) and c.startswith("xxxx"))
        app.screen.show_sample(long)  # type: ignore[attr-defined]
        await pilot.pause()
        assert "… and 80,000 more characters" in app.screen.query_one("#card", TextView).text


def _instruction(app: CockpitApp, sample_id: int) -> str | None:
    from alpaca_tui.store import samples

    row = samples.get(app.db, sample_id)
    return row.instruction if row else None
