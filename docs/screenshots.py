"""Renders the screenshots of the documentation from a real project: ``python docs/screenshots.py [--project DIR]``.

Without ``--project`` it fills a project of its own through the store and the rules, as the tests do.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alpaca_tui.store import database, samples
from alpaca_tui.ui import reader
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions

HERE = Path(__file__).resolve().parent
FONT_FACE = re.compile(r"@font-face\s*{[^}]*}\s*")


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its size in cells, and the keys that lead to it."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "alpaca-night"
    sample: str = ""
    """Show the sample whose instruction begins like this."""


SHOTS = (
    Shot("cockpit", (160, 46)),
    Shot("cockpit-100", (100, 30)),
    Shot("cockpit-80x24", (80, 24)),
    Shot("cockpit-day", (160, 46), theme="alpaca-day"),
    Shot("review", (140, 38), ("2",), sample="Cut this product"),
    Shot("filters", (140, 38), ("4", "f")),
    Shot("train", (140, 38), ("5",)),
    Shot("evaluate", (140, 30), ("6",)),
    Shot("blind", (120, 30), ("6", "b")),
    Shot("jobs", (140, 30), ("7", "o")),
    Shot("generate", (100, 30), ("n",)),
    Shot("help", (100, 36), ("2", "question_mark")),
)


async def render(project: Path, shot: Shot) -> str:
    """The screen as SVG that loads nothing from elsewhere."""
    app = CockpitApp(project, UiOptions(theme=shot.theme), watch=False)
    async with app.run_test(size=shot.size) as pilot:
        db = database.open_project(project)
        app.show_snapshot(reader.read_snapshot(project, db))
        await pilot.pause()
        for key in shot.keys:
            await pilot.press(key)
            await pilot.pause()
        if shot.sample:
            found = [row.id for row in samples.page(db, limit=10_000) if row.instruction.startswith(shot.sample)]
            if found:
                app.screen.show_sample(found[0])  # type: ignore[attr-defined]
                await pilot.pause()
        db.conn.close()
        return FONT_FACE.sub("", app.export_screenshot(title=f"alpaca-tui: {shot.name}"))


def main() -> None:
    """Write one SVG a shot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="an existing project (default: one made for the purpose)")
    parser.add_argument("--out", type=Path, default=HERE / "screenshots")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = options.project
        if project is None:
            sys.path.insert(0, str(HERE.parent / "tests"))
            from ui import seeding

            project = Path(folder) / "wool"
            seeding.close(seeding.fill(project).db)
        for shot in SHOTS:
            (options.out / f"{shot.name}.svg").write_text(asyncio.run(render(project, shot)), "utf-8")
            print(options.out / f"{shot.name}.svg")


if __name__ == "__main__":
    main()
