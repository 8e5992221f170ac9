"""A real project in a temporary directory, filled through the store's own functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from alpaca_tui.store import database
from store.filling import Filler


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def db(project: Path) -> Iterator[Database]:
    opened = database.create_project(project)
    yield opened
    opened.close()


@pytest.fixture
def filler(db: Database) -> Filler:
    return Filler(db)
