"""Every screen looks as it did: text and styles, cell by cell, against tests/ui/goldens.

Where a change is meant: ``python docs/screenshots.py --only-goldens``, and read the diff before committing it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
import capturing
import screenshots


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project of the pictures, at the stopped clock."""
    with capturing.stopped():
        project = tmp_path_factory.mktemp("goldens") / "wool"
        capturing.fill(project)
        yield project


@pytest.mark.parametrize("shot", screenshots.GOLDEN_SHOTS, ids=lambda shot: shot.name)
async def test_the_screen_looks_as_it_did(drawn: Path, shot: capturing.Shot) -> None:
    seen = capturing.readable(await capturing.capture(drawn, shot))
    golden = (screenshots.GOLDENS / f"{shot.name}.txt").read_text("utf-8")
    assert seen.splitlines() == golden.splitlines()


def test_no_golden_is_left_behind() -> None:
    assert {p.stem for p in screenshots.GOLDENS.glob("*.txt")} == {shot.name for shot in screenshots.GOLDEN_SHOTS}
