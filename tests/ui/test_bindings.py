"""The table of keys is the one source of bindings, footer, help, palette and rebinding."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.ui import bindings
from alpaca_tui.ui.keymap import checked
from alpaca_tui.ui.widgets.lines import TextView

from .conftest import Opened, screen_text, toasts

TAKEN = {f"ctrl+{c}" for c in "abpqszimh"} | {"ctrl+backslash"}


@pytest.mark.parametrize("screen", bindings.SCREENS)
def test_no_key_means_two_things_on_a_screen_and_none_belongs_to_the_terminal(screen: str) -> None:
    own = [c for c in bindings.COMMANDS if screen in c.screens]
    general = [c for c in bindings.COMMANDS if not c.screens]
    keys = [key for c in own for key in c.keys.split(",")]
    assert len(keys) == len(set(keys))
    for key in [*keys, *(k for c in general for k in c.keys.split(","))]:
        assert key not in TAKEN and not key.startswith(("alt+", "f1", "f2", "f3", "f4", "f5"))
    # A screen may take over Tab (the cockpit does), but no other general key.
    shared = set(keys) & {key for c in general for key in c.keys.split(",")}
    assert shared <= {"tab", "shift+tab"}


async def test_every_command_is_an_action_of_its_screen(opened: Opened, filled: Path) -> None:
    async with opened(filled) as (app, pilot):
        for name in bindings.SCREENS:
            app.go(name)
            await pilot.pause()
            for command in bindings.commands(name):
                target, _, action = command.action.rpartition(".")
                holder = app if target == "app" else app.screen
                assert hasattr(holder, f"action_{action.split('(')[0]}"), command.id
            active = {b.binding.id for b in app.screen.active_bindings.values()}
            assert {c.id for c in bindings.COMMANDS if name in c.screens} <= active
            # Nothing is bound to keys that the terminal or tmux owns, save inside text fields.
            assert not (set(app.screen.active_bindings) & TAKEN)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_footer_and_help_come_from_the_table(opened: Opened, filled: Path, size: tuple[int, int]) -> None:
    async with opened(filled, size) as (app, pilot):
        for name in bindings.SCREENS:
            app.go(name)
            await pilot.pause()
            footer = screen_text(app).split("\n")[-1]
            assert "? Help" in footer and ": Palette" in footer and "q Quit" in footer
            first = next(c for c in bindings.COMMANDS if name in c.screens and c.footer)
            assert f"{bindings.first_key(first, {})} {first.label}" in footer
            await pilot.press("question_mark")
            await pilot.pause()
            text = " ".join(app.screen.query_one("#reading", TextView).text.split())
            for command in bindings.commands(name):
                assert command.help in text
            await pilot.press("escape")
            await pilot.pause()


async def test_the_palette_finds_and_runs_a_command(opened: Opened, filled: Path) -> None:
    async with opened(filled) as (app, pilot):
        await pilot.press("colon")
        await pilot.pause()
        await pilot.press(*"goevaluate")
        await app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert app.current_mode == "evaluate"


async def test_keys_are_rebound_in_config_toml(opened: Opened, project: Path) -> None:
    (project / "config.toml").write_text(
        '[ui]\ntheme = "alpaca-day"\n[ui.keys]\n"review.accept" = "y"\n"no.such" = "z"\n'
    )
    async with opened(project) as (app, pilot):
        assert "no command is called no.such" in toasts(app)
        assert app.theme == "alpaca-day"
        await pilot.press("2")
        await pilot.pause()
        before = app.screen._card.row.id
        assert "y Accept" in screen_text(app).split("\n")[-1]
        await pilot.press("a")
        assert app.screen._card.row.id == before
        await pilot.press("y")
        assert app.screen._card.row.id != before


@pytest.mark.parametrize(
    ("keys", "kept", "said"),
    [
        ({"review.accept": "r"}, {}, ["review.accept and review.reject would both be r on Review"]),
        ({"review.accept": "r", "review.reject": "a"}, {"review.accept": "r", "review.reject": "a"}, []),
        ({"review.accept": "?"}, {}, ["review.accept and help would both be ? on Review"]),
        ({"review.accept": "j"}, {}, ["review.accept and move.line_down would both be j on Review"]),
        ({"help": "a"}, {}, ["help and review.accept would both be a on Review"]),
        ({"review.accept": "ctrl+s"}, {}, ["review.accept: ctrl+s belongs to flow control"]),
        ({"review.accept": "no such key"}, {}, ["review.accept: no such key is no key"]),
        ({"review.accept": ""}, {}, ["review.accept: nothing is no key"]),
        ({"x[/y]\x1b[2J": "z"}, {}, ["no command is called x[/y]␛[2J (? lists them)"]),
        ({"review.accept": "+, f5,y"}, {"review.accept": "plus,f5,y"}, []),
        ({"review.accept": "y", "jobs.stop": "y"}, {"review.accept": "y", "jobs.stop": "y"}, []),
        ({"cockpit.next_pane": "tab"}, {"cockpit.next_pane": "tab"}, []),
        ({"blind.tie": "b", "theme": "C"}, {"theme": "C"},
         ["blind.tie and blind.both_bad would both be b on Blind A/B"]),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_are_told_and_left(keys: dict[str, str], kept: dict[str, str], said: list[str]) -> None:
    assert checked(keys) == (kept, said)


def test_no_default_key_clashes_with_itself_or_with_moving() -> None:
    defaults = {c.id: c.keys for c in bindings.COMMANDS}
    assert checked(defaults) == ({name: ",".join(keys.split(",")) for name, keys in defaults.items()}, [])


async def test_a_clash_in_config_toml_leaves_both_keys_as_they_were(opened: Opened, project: Path) -> None:
    (project / "config.toml").write_text('[ui.keys]\n"review.accept" = "r"\n"review.skip" = "n"\n')
    async with opened(project) as (app, pilot):
        assert "review.accept and review.reject would both be r on Review. Those stay as they were." in toasts(app)
        await pilot.press("2")
        await pilot.pause()
        footer = screen_text(app).split("\n")[-1]
        assert "a Accept" in footer and "r Reject" in footer and "n Skip" in footer


async def test_a_config_that_cannot_be_read_is_said_and_nothing_breaks(opened: Opened, project: Path) -> None:
    (project / "config.toml").write_text("[generate\n")
    async with opened(project) as (app, pilot):
        assert "config.toml cannot be read" in toasts(app)
        app.clear_notifications()
        for keys in (("1", "n"), ("5", "n"), ("2", "R"), ("4", "p")):
            await pilot.press(*keys)
            await app.workers.wait_for_complete()
            await pilot.pause()
        # An evaluation's model is that of the training that was, so its form needs no config.toml.
        assert toasts(app).count("config.toml cannot be read") >= 2 and "Mend it, then press the key again" in toasts(
            app
        )
        assert app.is_running and len(app.screen_stack) == 1


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_quitting_says_that_jobs_go_on(
    filled: Path, opened: Opened, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(filled) as (app, pilot):
        await pilot.press(key)
        await pilot.pause()
    assert app.return_code == 0
    assert "job 5 (generate) goes on" in capsys.readouterr().err


async def test_ctrl_c_closes_a_dialog_first(filled: Path, opened: Opened) -> None:
    async with opened(filled) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.is_running and len(app.screen_stack) == 1


def test_unknown_names_are_found() -> None:
    assert bindings.unknown_ids({"review.accept": "y", "move.line_up": "w", "x.y": "z"}) == ["x.y"]
