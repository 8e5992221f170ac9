"""Projects for the cockpit's tests: made once, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from alpaca_tui.store import database
from alpaca_tui.ui import reader
from alpaca_tui.ui.app import CockpitApp
from alpaca_tui.ui.options import UiOptions

from . import seeding

Opened = Callable[..., AbstractAsyncContextManager[tuple[CockpitApp, Pilot[None]]]]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in the middle of its life; never changed."""
    project = tmp_path_factory.mktemp("filled") / "wool"
    seeding.close(seeding.fill(project).db)
    return project


@pytest.fixture
def project(filled: Path, tmp_path: Path) -> Path:
    """A copy of the filled project."""
    copy = tmp_path / "wool"
    shutil.copytree(filled, copy)
    return copy


def look(app: CockpitApp) -> None:
    """Read the project and hand the snapshot over, as the watcher does."""
    db = database.open_project(app.project)
    try:
        app.show_snapshot(reader.read_snapshot(app.project, db))
    finally:
        db.conn.close()


@pytest.fixture
def opened() -> Opened:
    """Opens the cockpit without its watcher: every snapshot comes from ``look``."""

    @asynccontextmanager
    async def open_cockpit(
        project: Path, size: tuple[int, int] = (120, 40), options: UiOptions | None = None
    ) -> AsyncIterator[tuple[CockpitApp, Pilot[None]]]:
        app = CockpitApp(project, options, watch=False)
        async with app.run_test(size=size, notifications=True) as pilot:
            look(app)
            await pilot.pause()
            yield app, pilot

    return open_cockpit


def screen_text(app: CockpitApp) -> str:
    """Everything on the screen, line by line, as it goes to the terminal."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip if not s.control) for strip in strips)


def toasts(app: CockpitApp) -> str:
    """Everything that was said in toasts and is still up."""
    return "\n".join(notification.message for notification in app._notifications)
