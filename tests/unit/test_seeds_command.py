"""``alpaca-tui seeds …`` as a shell sees it: stdout, stderr, exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alpaca_tui import resources

GOOD = {
    "id": "mine_1",
    "name": "fruit",
    "instruction": "Name three sour fruits.",
    "instances": [{"input": "", "output": "Lemon, lime, sloe."}],
    "is_classification": False,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def seeds(project: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "alpaca_tui.cli.main", "seeds", *map(str, arguments), "--project", str(project)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False)


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def test_import_list_export(project: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "mine.jsonl", GOOD)
    first = seeds(project, "import", file, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {"file": str(file), "added": 1, "revised": 0, "unchanged": 0}
    again = seeds(project, "import", file, "--json")
    assert json.loads(again.stdout) == {"file": str(file), "added": 0, "revised": 0, "unchanged": 1}

    listed = json.loads(seeds(project, "list", "--search", "SOUR fruits", "--json").stdout)["seeds"]
    assert [(s["id"], s["instruction"], s["enabled"], s["usage"]["drawn"]) for s in listed] == [
        ("mine_1", GOOD["instruction"], True, 0)
    ]
    assert b"Name three sour fruits." in seeds(project, "list").stdout

    out = tmp_path / "out.jsonl"
    assert json.loads(seeds(project, "export", out, "--json").stdout) == {"file": str(out), "seeds": 176}
    assert out.read_bytes() == resources.seed_tasks_path().read_bytes() + file.read_bytes()
    assert seeds(project, "export", "-").stdout == out.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.jsonl", "out.jsonl", "project"]


def test_a_broken_line_7_is_one_sentence_and_nothing_is_imported(project: Path, tmp_path: Path) -> None:
    sound = [GOOD | {"id": f"mine_{n}"} for n in range(1, 7)]
    file = written(tmp_path / "broken.jsonl", *sound, '{"id": "mine_7",', GOOD | {"id": "mine_8", "instances": []})
    done = seeds(project, "import", file)
    assert (done.returncode, done.stdout) == (1, b"")
    *all_problems, last = done.stderr.decode().splitlines()
    assert last.startswith(f"error: {file}: line 7: broken JSON at column ") and "nothing was imported" in last
    assert [line.split(":")[0].split()[:3] for line in all_problems] == [["error", "line", "7"], ["error", "line", "8"]]
    assert not project.exists()


def test_another_text_under_a_known_id(project: Path, tmp_path: Path) -> None:
    seeds(project, "import", written(tmp_path / "a.jsonl", GOOD))
    changed = written(tmp_path / "b.jsonl", GOOD | {"instruction": "Name three bitter fruits."})
    refused = seeds(project, "import", changed)
    assert refused.returncode == 1 and b"(mine_1)" in refused.stderr and b"--update" in refused.stderr
    taken = seeds(project, "import", changed, "--update", "--json")
    assert json.loads(taken.stdout)["revised"] == 1
    assert b"bitter" in seeds(project, "list", "--search", "bitter").stdout


def test_check_of_a_sound_file_and_of_the_shipped_seeds(project: Path, tmp_path: Path) -> None:
    done = seeds(project, "check", written(tmp_path / "mine.jsonl", GOOD), "--strict", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["count"], value["verbs"], value["pairs_over_threshold"], value["problems"]) == (1, 1, [], [])
    shipped = json.loads(seeds(project, "check", "--json").stdout)
    assert (shipped["count"], shipped["classification"]) == (175, 25)
    assert not project.exists()


def test_check_finds_and_still_exits_with_0(project: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "mine.jsonl", GOOD, GOOD | {"id": "mine_2"})
    done = seeds(project, "check", file)
    assert done.returncode == 0 and b"ROUGE-L 1.00 with mine_1" in done.stdout and done.stderr == b""
    assert seeds(project, "check", file, "--strict").returncode == 3


def test_check_against_a_second_file(project: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl", {"instruction": "Name three sour fruits, please."})
    done = seeds(project, "check", written(tmp_path / "mine.jsonl", GOOD), "--against", other, "--json")
    assert json.loads(done.stdout)["against"]["over_threshold"] == [["mine_1", "line 1", pytest.approx(8 / 9)]]


def test_check_of_a_broken_file_measures_the_rest_and_exits_with_1(project: Path, tmp_path: Path) -> None:
    done = seeds(project, "check", written(tmp_path / "broken.jsonl", GOOD, "{"), "--json")
    assert done.returncode == 1
    value = json.loads(done.stdout)
    assert value["count"] == 1 and [(p["line"], p["rule"]) for p in value["problems"]] == [(2, "broken-json")]
    assert len(done.stderr.splitlines()) == 1 and b"line 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("import", "nowhere.jsonl"), 1),
        (("check", "/"), 1),
        (("check", "--threshold", "1.5"), 2),
        (("check", "--tokenizer", "bpe"), 2),
        (("export",), 2),
        (("list",), 1),
    ],
)
def test_bad_calls_are_one_sentence(project: Path, arguments: tuple[str, ...], code: int) -> None:
    done = seeds(project, *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr and b"Traceback" not in done.stderr
    assert not project.exists()
