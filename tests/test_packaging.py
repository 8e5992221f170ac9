"""The data folders travel: in a wheel built from the sdist, in ``pip install .``, in an editable install."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
EXPECTED = (
    "seed_tasks/seed_tasks.jsonl",
    "seed_tasks/prompts/self-instruct/pack.toml",
    "seed_tasks/prompts/alpaca/pack.toml",
    "styles/app.tcss",
    "db/migrations/0001_project.sql",
    "db/queries/sample_origin.sql",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(sdist, wheel built from the unpacked sdist), by the project's own build backend."""
    work = tmp_path_factory.mktemp("build")
    sdist = _build(REPOSITORY, work, "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    return sdist, _build(work / sdist.name.removesuffix(".tar.gz"), work, "wheel")


def _build(source: Path, out: Path, kind: str) -> Path:
    code = f"from hatchling import build; print(build.build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.strip().splitlines()[-1]


def test_sdist_and_wheel_carry_the_data(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        inside_sdist = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        inside_wheel = set(archive.namelist())
    assert [name for name in EXPECTED if name not in inside_sdist] == []
    assert [name for name in EXPECTED if f"alpaca_tui/_data/{name}" not in inside_wheel] == []
    assert any(name.endswith("training/recipes/cpu.yaml") for name in inside_wheel)


def test_an_installed_wheel_finds_its_data(built: tuple[Path, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", built[1]]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "from alpaca_tui import resources as r; "
        "print(len(r.seed_tasks_path().read_text('utf-8').splitlines()), r.folder('db'), len(r.migrations()))"
    )
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    count, folder, migrations = done.stdout.split()
    assert (count, int(migrations) >= 1) == ("175", True)
    assert Path(folder).is_relative_to(tmp_path / "venv")


def test_an_editable_install_finds_the_repository_folders() -> None:
    from alpaca_tui import resources

    for name in EXPECTED:
        top, _, rest = name.partition("/")
        assert (resources.folder(top) / rest).is_file(), name
