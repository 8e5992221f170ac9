"""The layering is a failing test, not a wish."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "accelerate", "rouge_score", "nltk", "datasets")


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "alpaca_tui.cli.main",
        "alpaca_tui.cli.commands",
        "alpaca_tui.ui.app",
        "alpaca_tui.jobs.runner",
        "alpaca_tui.jobs.spawn",
        "alpaca_tui.jobs.models",
        "alpaca_tui.core.rules",
        "alpaca_tui.store.projects",
    ],
)
def test_importing_it_loads_no_model_library(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_package_init_files_are_empty() -> None:
    assert [p for p in (REPOSITORY / "src").rglob("__init__.py") if p.read_text().strip()] == []


def test_core_reads_no_files_and_no_clock() -> None:
    """Core is pure: the modules that touch files, processes, the clock or the network are not imported there."""
    forbidden = ("import os", "import time", "import subprocess", "import socket", "import sqlite3", "from pathlib")
    guilty = [
        (path.name, line)
        for path in (REPOSITORY / "src/alpaca_tui/core").glob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith(forbidden)
    ]
    assert guilty == []
