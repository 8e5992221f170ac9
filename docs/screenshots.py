"""Renders what `make docs` renews: ``python docs/screenshots.py [--project DIR | --only-goldens]``.

The screenshots (SVG) and the tour (docs/TOUR.md) are those of the project given, which `make docs` lets the demo make:
a real run. It generates again while the pictures are taken. The goldens (tests/ui/goldens) come from the project and
the stopped clock of ``capturing``.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from pathlib import Path

from capturing import Shot, capture, copied, fill, generating, lead, plain, readable, stopped

from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions

HERE = Path(__file__).resolve().parent
GOLDENS = HERE.parent / "tests" / "ui" / "goldens"
FONT_FACE = re.compile(r"@font-face\s*{[^}]*}\s*")
UNIQUE = re.compile(r"terminal-\d+-")

SHOTS = (
    Shot("cockpit", (160, 46)),
    Shot("cockpit-100", (100, 30)),
    Shot("cockpit-80x24", (80, 24)),
    Shot("cockpit-day", (160, 46), theme="alpaca-day"),
    Shot("review", (140, 38), ("2",)),
    Shot("filters", (140, 38), ("4", "f")),
    Shot("train", (140, 38), ("5",)),
    Shot("evaluate", (140, 30), ("6",)),
    Shot("blind", (120, 30), ("6", "b")),
    Shot("jobs", (140, 30), ("7", "o")),
    Shot("generate", (100, 30), ("n",)),
    Shot("help", (100, 36), ("2", "question_mark")),
)

SCREENS = ("cockpit", "review", "seeds", "filters", "train", "evaluate", "jobs")
GOLDEN_SHOTS = (
    *(
        Shot(f"{name}-{size[0]}x{size[1]}", size, (str(number),))
        for number, name in enumerate(SCREENS, 1)
        for size in ((80, 24), (120, 40))
    ),
    Shot("cockpit-200x50", (200, 50)),
    Shot("review-200x50", (200, 50), ("2",)),
    Shot("generate-80x24", (80, 24), ("n",)),
    Shot("blind-80x24", (80, 24), ("6", "b")),
    Shot("help-80x24", (80, 24), ("2", "question_mark")),
    Shot("messages-80x24", (80, 24), ("2", "b", "m")),
    Shot("zoomed-80x24", (80, 24), ("7", "tab", "o", "z")),
)

TOUR = (
    (
        Shot("1", (100, 30)),
        "Start `alpaca-tui`",
        "Seeds, live generation, the filter funnel, the loss: at a glance.",
    ),
    (Shot("2", (100, 30), ("2",)), "Press `2`: review", "One sample, why it is here, and the keys that judge it."),
    (Shot("3", (100, 30), ("2", "a")), "Press `a`: accept", "The sample is kept and the next one is on the card."),
    (
        Shot("4", (100, 30), ("4",)),
        "Press `4`: filters",
        "What was thrown out, by which rule, and what every threshold would keep.",
    ),
    (Shot("5", (100, 30), ("5",)), "Press `5`: train", "The loss of every training, with the held-out loss."),
    (Shot("6", (100, 30), ("6",)), "Press `6`: evaluate", "Base and tuned model side by side on held-out tasks."),
    (Shot("7", (100, 30), ("6", "b")), "Press `b`: blind", "The same answers without names, judged left or right."),
    (Shot("8", (100, 30), ("7",)), "Press `7`: jobs", "Every job, alive or ended, with its log."),
)
INTRO = """# A tour in text

The frames below are the cockpit's own cells at 100×30, without their colours. `make docs` captures them from the
project that `alpaca-tui demo` makes with the embedded model of 135 million parameters, while it generates again. What
stands in them is what that small model wrote.
"""


async def svg(project: Path, shot: Shot) -> str:
    """The screen as SVG that loads nothing from elsewhere and has the same ids each time."""
    app = CockpitApp(project, UiOptions(theme=shot.theme), watch=False)
    async with app.run_test(size=shot.size) as pilot:
        await lead(app, pilot, project, shot)
        picture = FONT_FACE.sub("", app.export_screenshot(title=f"alpaca-tui: {shot.name}"))
    return UNIQUE.sub("terminal-", picture)


def tour(project: Path, copies: Path) -> str:
    """The tour as Markdown; every frame starts from a copy of the project of its own, for keys change it."""
    parts = [INTRO]
    for number, (shot, title, seen) in enumerate(TOUR, 1):
        copy = copies / shot.name / project.name
        copied(project, copy)
        frame = plain(asyncio.run(capture(copy, shot)))
        parts.append(f"## {number}. {title}\n\n{seen}\n\n```text\n{frame}\n```\n")
    return "\n".join(parts)


def write(path: Path, text: str) -> None:
    """Write the file and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    print(path)


def main() -> None:
    """Write every picture, frame and golden."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="take the screenshots and the tour of this project, too")
    parser.add_argument("--only-goldens", action="store_true", help="write tests/ui/goldens and nothing else")
    parser.add_argument("--out", type=Path, default=HERE / "screenshots")
    options = parser.parse_args()
    if options.project and not options.only_goldens:
        with generating(options.project), tempfile.TemporaryDirectory() as folder:
            for shot in SHOTS:
                write(options.out / f"{shot.name}.svg", asyncio.run(svg(options.project, shot)))
            write(HERE / "TOUR.md", tour(options.project, Path(folder)))
    with tempfile.TemporaryDirectory() as folder, stopped():
        project = Path(folder) / "wool"
        fill(project)
        for shot in GOLDEN_SHOTS:
            write(GOLDENS / f"{shot.name}.txt", readable(asyncio.run(capture(project, shot))))


if __name__ == "__main__":
    main()
