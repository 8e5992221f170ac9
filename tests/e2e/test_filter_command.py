"""``filter`` as a user runs it: on any file, and as a replay of the project."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alpaca_tui.cli.filter_file import filter_file
from alpaca_tui.cli.filtering import chart
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rules import first_failure, instruction_rules, judge_instruction
from alpaca_tui.store import database, decisions, jobs, replays, samples
from store.filling import Filler
from store.filtering import TEXTS, Worker


def alpaca(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user would."""
    command = [Path(sys.executable).with_name("alpaca-tui"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def answer(*arguments: object) -> dict[str, Any]:
    """The JSON object on stdout."""
    done = alpaca(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(code: int, *arguments: object) -> str:
    """The one sentence on stderr."""
    done = alpaca(*arguments)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (code, "", False), done
    (line,) = done.stderr.splitlines()
    return line


def lines_file(path: Path, texts: list[str] | tuple[str, ...], name: str = "instruction") -> Path:
    rows = [json.dumps({name: text, "input": "", "output": "é"}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


# Any file --------------------------------------------------------------------------------------------------------


def test_lines_are_filtered_in_order_and_kept_as_they_stand(tmp_path: Path) -> None:
    file = lines_file(tmp_path / "in.jsonl", TEXTS)
    before = file.read_bytes().splitlines(keepends=True)
    out, thrown = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
    value = answer("filter", file, "--output", out, "--rejects", thrown)
    assert (value["total"], value["kept"]) == (7, 4)
    assert value["rejected"] == {"novelty": 1, "duplicate": 1, "length": 1}
    assert value["seconds"] >= 0
    assert out.read_bytes() == b"".join(before[i] for i in (0, 2, 4, 6))
    rejected = [json.loads(line) for line in thrown.read_text("utf-8").splitlines()]
    assert [(r["line"], r["rule"]) for r in rejected] == [(2, "novelty"), (4, "duplicate"), (6, "length")]
    assert (rejected[0]["score"], rejected[0]["threshold"]) == (0.9, 0.7)
    assert rejected[0]["neighbour"] == {"line": 1, "text": TEXTS[0]}
    assert rejected[0]["record"]["instruction"] == TEXTS[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "rejects.jsonl"]


def test_a_list_stays_a_list(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    records = [{"q": text, "n": i, "deep": {"é": [1.5, None]}} for i, text in enumerate(TEXTS)]
    file.write_text(json.dumps(records, indent=2), "utf-8")
    out, thrown = tmp_path / "out.json", tmp_path / "rejects.jsonl"
    value = answer("filter", file, "--field", "q", "--output", out, "--rejects", thrown, "--threshold", "0.95")
    assert value["rejected"] == {"duplicate": 1, "length": 1}
    assert json.loads(out.read_text("utf-8")) == [records[i] for i in (0, 1, 2, 4, 6)]
    assert [json.loads(line)["item"] for line in thrown.read_text("utf-8").splitlines()] == [4, 6]


def test_nothing_kept_is_still_a_list(tmp_path: Path) -> None:
    file, out = tmp_path / "in.json", tmp_path / "out.json"
    file.write_text('[{"instruction": "Hm"}]', "utf-8")
    assert answer("filter", file, "--output", out)["kept"] == 0
    assert json.loads(out.read_text("utf-8")) == []


def test_a_file_can_be_filtered_in_place_and_needs_no_project(tmp_path: Path) -> None:
    file = lines_file(tmp_path / "in.jsonl", TEXTS)
    done = alpaca("--project", tmp_path / "none", "filter", file, "--output", file)
    assert done.stdout.startswith("7 records, 4 kept, 3 rejected (novelty 1, duplicate 1, length 1) in ")
    assert (done.returncode, done.stderr) == (0, "")
    assert answer("filter", file)["kept"] == 4
    assert not (tmp_path / "none").exists()


def test_rules_can_be_left_out(tmp_path: Path) -> None:
    file = lines_file(tmp_path / "in.jsonl", [*TEXTS, "Draw a map of Rome."])
    assert answer("filter", file, "--rules", "novelty")["rejected"] == {"novelty": 2}
    value = answer("filter", file, "--without", "length", "--without", "banned_words")
    assert value["rejected"] == {"novelty": 1, "duplicate": 1}
    said = refusal(2, "filter", file, "--without", "lenght")
    assert "no rule 'lenght'" in said
    assert "banned_words" in said


def test_chinese_needs_the_unicode_tokenizer(tmp_path: Path) -> None:
    texts = ["请写一首关于春天的短诗", "请写一首关于秋天的短诗", "列出三种常见的水果名称"]
    file = lines_file(tmp_path / "in.jsonl", texts)
    value = answer("filter", file, "--tokenizer", "unicode")
    assert (value["kept"], value["rejected"], value["tokenizer"]) == (2, {"novelty": 1}, "unicode")
    assert answer("filter", file)["rejected"] == {"length": 3}


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (b'{"instruction": "Name three rivers', "broken JSON"),
        (b'["Name three rivers in Europe"]', "found a list"),
        (b'{"prompt": "Name three rivers in Europe"}', "--field"),
        (b'{"instruction": 3}', "no text in a field 'instruction'"),
        (b'{"instruction": "caf\xe9"}', "not UTF-8"),
        (b'{"instruction": "\0"}', "zero bytes"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_written(tmp_path: Path, faulty: bytes, said: str) -> None:
    file = lines_file(tmp_path / "in.jsonl", TEXTS)
    lines = file.read_bytes().splitlines()
    lines[2] = faulty
    lines.insert(4, b"")
    lines.append(faulty)
    file.write_bytes(b"\n".join(lines))
    out = tmp_path / "out.jsonl"
    out.write_text("as it was", "utf-8")
    sentence = refusal(1, "filter", file, "--output", out, "--rejects", tmp_path / "rejects.jsonl")
    assert "line 3" in sentence
    assert said in sentence
    assert "(9)" in sentence
    assert "nothing was written" in sentence
    assert out.read_text("utf-8") == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no record"),
        (b" \n\n", "holds no record"),
        (b'[{"instruction": "a"', "line 1"),
        (b"\xff\xfe[", "UTF-16"),
    ],
)
def test_a_file_that_holds_nothing_readable(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(content)
    assert said in refusal(1, "filter", file, "--output", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_files_that_cannot_be(tmp_path: Path) -> None:
    file = lines_file(tmp_path / "in.jsonl", TEXTS)
    assert "No such file" in refusal(1, "filter", tmp_path / "none.jsonl")
    assert "Is a directory" in refusal(1, "filter", tmp_path)
    assert "cannot write" in refusal(1, "filter", file, "--output", tmp_path / "no" / "out.jsonl")
    assert "not a plain file" in refusal(2, "filter", file, "--output", "/dev/null")
    same = ("--output", tmp_path / "x", "--rejects", tmp_path / "x")
    assert "different names" in refusal(2, "filter", file, *same)
    assert "leave FILE out" in refusal(2, "filter", file, "--apply")
    assert "go with a FILE" in refusal(2, "filter", "--output", tmp_path / "x")


def test_a_long_file_is_decided_as_the_rules_decide_text_by_text(tmp_path: Path) -> None:
    rng = random.Random(5)
    words = [f"word{i}" for i in range(60)]
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(2500)]
    texts += [f"{rng.choice(texts)} {rng.choice(words)}" for _ in range(1500)]
    file, thrown = lines_file(tmp_path / "in.jsonl", texts), tmp_path / "rejects.jsonl"
    value = filter_file(file, instruction_rules(0.7), "rouge", "instruction", None, thrown)
    context, expected = Context(), {}
    for line, text in enumerate(texts, start=1):
        failed = first_failure(judge_instruction(text, instruction_rules(0.7), context))
        if failed is None:
            context.know_instruction("candidate", line, text)
        else:
            near = {"line": failed.neighbour.id, "text": failed.neighbour.text} if failed.neighbour else None
            expected[line] = (failed.rule, failed.score, near)
    found = {r["line"]: (r["rule"], r["score"], r["neighbour"]) for r in map(json.loads, thrown.open())}
    assert value["total"] - value["kept"] == len(expected) > 500
    assert found == expected


# The project -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Seven candidates filtered at 0.7: 1, 3 and 7 kept, 3 with a pending sample, 1 with an accepted one."""
    db = database.create_project(tmp_path / "project")
    filler = Filler(db)
    worker = Worker(filler)
    jobs.request_stop(db, filler.job_id)
    made = worker.filter(*TEXTS)
    decisions.decide(db, "accept", [worker.fill(made[0], "Bees work.")])
    worker.fill(made[2], "Ants carry food.")
    db.close()
    return tmp_path / "project"


def test_a_replay_says_what_would_change_and_changes_nothing(project: Path) -> None:
    value = answer("--project", project, "filter", "--threshold", "0.9")
    assert (value["total"], value["kept"], value["rejected"]) == (7, 5, {"duplicate": 1, "length": 1})
    assert value["before"] == {"kept": 3, "rejected": {"novelty": 2, "duplicate": 1, "length": 1}}
    assert [(c["id"], c["before"], c["after"]) for c in value["changes"]["candidates"]] == [
        (2, "novelty", None),
        (5, "novelty", None),
    ]
    assert (value["applied"], value["tokenizer"], len(value["rules"])) == (None, "rouge", 9)
    assert answer("--project", project, "status")["candidates"]["kept"] == 3
    said = alpaca("--project", project, "filter", "--threshold", "0.9").stdout
    assert "2 candidates change sides: 2 now kept, 0 now rejected" in said
    assert "candidate 2: kept, was novelty" in said
    assert "nothing was changed" in said


def test_applied_and_undone(project: Path) -> None:
    done = alpaca("--project", project, "filter", "--threshold", "0.6", "--apply")
    assert done.returncode == 0
    assert "candidate 3: novelty 0.67 candidate 1: Describe the daily life" in done.stdout
    assert "0 samples come back, 1 go: 2" in done.stdout
    assert "later generations still filter at 0.7" in done.stderr
    status = answer("--project", project, "status")
    assert (status["candidates"]["kept"], status["samples"]["pending"], status["samples"]["accepted"]) == (2, 0, 1)
    assert answer("--project", project, "filter", "--undo")["kept"] == 3
    assert answer("--project", project, "status")["samples"]["pending"] == 1
    assert "nothing to undo" in refusal(1, "--project", project, "filter", "--undo")


def test_an_accepted_sample_stays(project: Path) -> None:
    value = answer("--project", project, "filter", "--threshold", "0.1", "--apply")
    assert 1 not in [change["id"] for change in value["changes"]["samples"]]
    db = database.open_project(project)
    row = samples.get(db, 1)
    assert row is not None
    assert row.state == "accepted"


def test_a_rule_for_outputs_changed_in_the_config_is_replayed_and_undone(project: Path) -> None:
    """Sample 2, still to be judged, is thrown out by a new word; sample 1 stays, for a person has accepted it."""
    assert answer("--project", project, "filter")["samples"] is None
    (project / "config.toml").write_text('[rules.content]\nmore = ["food", "bees"]\n')
    value = answer("--project", project, "filter")
    assert value["samples"] == {"before": {"kept": 2, "rejected": {}}, "kept": 1, "rejected": {"content": 1}}
    assert [(change["id"], change["rule"]) for change in value["changes"]["samples"]] == [(2, "content")]
    assert answer("--project", project, "filter", "--no-instances")["samples"] is None
    said = alpaca("--project", project, "filter", "--apply").stdout
    assert "samples" in said and "0 samples come back, 1 go: 2" in said
    assert answer("--project", project, "status")["samples"]["pending"] == 0
    answer("--project", project, "filter", "--undo")
    assert answer("--project", project, "status")["samples"]["pending"] == 1
    assert "--instances" in refusal(2, "filter", __file__, "--instances")


def test_the_curve(project: Path) -> None:
    value = answer("--project", project, "filter", "--curve")
    assert [x for x, _ in value["curve"]] == [x / 100 for x in range(50, 101)]
    db = database.open_project(project)
    assert value["curve"] == [list(point) for point in replays.threshold_curve(db)]
    said = alpaca("--project", project, "filter", "--curve").stdout
    assert "would keep 3 at 0.70" in said
    more = dict(answer("--project", project, "filter", "--curve", "--without", "length")["curve"])
    assert all(more[x] == kept + 1 for x, kept in value["curve"])


def test_the_chart_has_its_ends_at_the_ends() -> None:
    lines = chart([(x / 100, x) for x in range(50, 101)], 0.75)
    assert (lines[0][:5], lines[0][-1], len(lines[0])) == ("100  ", "█", 55)
    assert (lines[7][:5], lines[7][-1]) == (" 50 ▁", "█")
    assert all(sorted(line[4:]) == list(line[4:]) for line in lines[:8])
    assert lines[8].index("^") - 4 == 25
    assert lines[-1] == "    would keep 75 at 0.75"
    flat = chart([(0.5, 1000), (1.0, 1000)], 1.0, blocks=False)
    assert all(line.isascii() for line in flat)


def test_the_projects_own_settings_count(project: Path) -> None:
    (project / "config.toml").write_text('[generate]\nthreshold = 0.9\n[rules]\ndisabled = ["length"]\n', "utf-8")
    value = answer("--project", project, "filter")
    assert (value["threshold"], value["kept"], value["rejected"]) == (0.9, 6, {"duplicate": 1})
    assert answer("--project", project, "filter", "--tokenizer", "unicode")["kept"] == 6
    (project / "config.toml").write_text('[rules]\ntokenizer = "latin"\n', "utf-8")
    assert "rules.tokenizer" in refusal(2, "--project", project, "filter")


def test_a_changed_rule_shows_its_effect_in_a_replay_and_can_be_applied(project: Path) -> None:
    config = project / "config.toml"
    config.write_text(
        '[rules]\norder = ["duplicate"]\ndisabled = ["novelty"]\n'
        '[rules.length]\nmin_words = 2\nmax_words = 10\n[rules.banned_words]\nmore = ["bakery"]\n',
        "utf-8",
    )
    value = answer("--project", project, "filter")
    assert value["before"] == {"kept": 3, "rejected": {"novelty": 2, "duplicate": 1, "length": 1}}
    assert (value["kept"], value["rejected"]) == (4, {"length": 1, "duplicate": 1, "banned_words": 1})
    said = alpaca("--project", project, "filter").stdout
    assert ["kept", "3", "4", "+1"] in [line.split() for line in said.splitlines()]
    assert "candidate 7: banned_words: Suggest a name for a small bakery" in said
    assert "nothing was changed" in said
    assert answer("--project", project, "filter", "--apply")["applied"] == 1
    assert answer("--project", project, "status")["candidates"]["kept"] == 4
    again = answer("--project", project, "filter")
    assert (again["before"]["kept"], again["changes"]["candidates"]) == (4, [])
    config.unlink()
    assert answer("--project", project, "filter")["kept"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[rules]\ndisabled = ["lenght"]', "rules.disabled: there is no rule 'lenght'; the rules are length, "),
        ('[rules]\norder = ["novelty", "novelty"]', "rules.order: 'novelty' is named twice"),
        ("[rules.length]\nmin_words = -1", "rules.length.min_words is -1: "),
        ("[rules.length]\nmin_words = 200", "min_words is 200 and max_words 150, so nothing passes"),
        (
            "[rules.length]\nminimum = 3",
            "rules.length.minimum: there is no such setting; there are min_words, max_words",
        ),
        ("[rules.echo]\nthreshold = 1.5", "rules.echo.threshold is 1.5: "),
        ("[rules.repetition]\nmax_loop = 'x'", "rules.repetition.max_loop is 'x': "),
        ("[rules.banned_words]\nwords = ['a', ' ']", "rules.banned_words.words.1 is ' ': "),
        ("[rules.novelty]\nthreshold = 0.5", "rules.novelty: there is no such setting"),
    ],
)
def test_a_fault_in_the_rules_is_one_sentence_with_file_and_value(project: Path, text: str, said: str) -> None:
    (project / "config.toml").write_text(text, "utf-8")
    line = refusal(2, "--project", project, "filter")
    assert f"{project / 'config.toml'}: " in line
    assert said in line


def test_a_file_can_be_filtered_by_a_projects_rules(tmp_path: Path) -> None:
    file, config = lines_file(tmp_path / "in.jsonl", TEXTS), tmp_path / "rules.toml"
    config.write_text("[generate]\nthreshold = 0.95\n[rules.length]\nmin_words = 2", "utf-8")
    value = answer("filter", file, "--config", config)
    assert (value["threshold"], value["kept"], value["rejected"]) == (0.95, 6, {"duplicate": 1})
    assert "does not exist" in refusal(2, "filter", file, "--config", tmp_path / "none.toml")
    assert "go with a FILE" in refusal(2, "filter", "--config", config)


def test_a_generation_at_work_forbids_to_apply(project: Path) -> None:
    from alpaca_tui.jobs import processes

    db = database.open_project(project)
    job = jobs.enqueue(db, "generate", {"target": 5})
    jobs.claim(db, job, *processes.identity())
    said = refusal(3, "--project", project, "filter", "--threshold", "0.6", "--apply")
    assert f"job {job} is generating" in said
    assert answer("--project", project, "filter", "--threshold", "0.6")["kept"] == 2
