"""Seed files: what is read as published, what is refused with which line, and the round trip."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui import resources
from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.seedfile import (
    SeedFile,
    clean_task,
    dump_seed_file,
    parse_references,
    parse_seed_file,
    task_errors,
)


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A sound record of Self-Instruct's shape; a change to ``None`` takes the field away."""
    fields = {
        "id": f"seed_task_{number}",
        "name": "fruit",
        "instruction": f"Name {number} fruits.",
        "instances": [{"input": "", "output": "A pear."}],
        "is_classification": False,
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def lines(*records: Any) -> str:
    return "".join(json.dumps(r) + "\n" for r in records)


def found(file: SeedFile) -> list[tuple[int, str]]:
    return [(p.line, p.rule) for p in file.problems]


def test_self_instruct_shape() -> None:
    file = parse_seed_file(
        lines(record(1), record(2, instances=[{"input": "a", "output": "b"}, {"input": "c", "output": ""}]))
    )
    assert file.problems == ()
    assert file.lines == (1, 2)
    assert file.tasks == (
        SeedTask("seed_task_1", "fruit", "Name 1 fruits.", (Instance("", "A pear."),), False),
        SeedTask("seed_task_2", "fruit", "Name 2 fruits.", (Instance("a", "b"), Instance("c", "")), False),
    )


@pytest.mark.parametrize("indent", [None, 4])
def test_alpaca_shape_as_a_list(indent: int | None) -> None:
    items = [
        {"instruction": "Give three tips.", "input": "", "output": "Sleep."},
        {"instruction": "Add the numbers.", "input": "1, 2", "output": "3"},
    ]
    file = parse_seed_file(json.dumps(items, indent=indent))
    assert file.problems == ()
    assert [(t.instruction, t.instances, t.is_classification) for t in file.tasks] == [
        ("Give three tips.", (Instance("", "Sleep."),), False),
        ("Add the numbers.", (Instance("1, 2", "3"),), False),
    ]
    assert file.tasks[0].name == "give_three_tips"
    assert file.lines == ((1, 1) if indent is None else (2, 7))


def test_alpaca_ids_come_from_the_content_wherever_it_stands() -> None:
    one = {"instruction": "Give three tips.", "input": "", "output": "Sleep."}
    other = {"instruction": "Give three tips.", "input": "", "output": "Run."}
    first, second = parse_seed_file(lines(one, other)).tasks
    assert first.task_id != second.task_id
    assert parse_seed_file(json.dumps([other, one])).tasks == (second, first)


def test_a_repeated_alpaca_item_counts_once_and_is_no_error() -> None:
    item = {"instruction": "Give three tips.", "input": "", "output": "Sleep."}
    file = parse_seed_file(lines(item, item))
    assert len(file.tasks) == 1 and file.errors == ()
    assert found(file) == [(2, "repeated-item")]


def test_empty_outputs_are_read() -> None:
    """Alpaca's published file has some; they are for the check to point out, not a reason to refuse it."""
    file = parse_seed_file(lines({"instruction": "Give three tips.", "input": "", "output": ""}))
    assert file.errors == () and file.tasks[0].instances == (Instance("", ""),)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_line_ends_and_blank_lines(mark: str, end: str) -> None:
    text = mark + end + json.dumps(record(1)) + end + "  " + end + json.dumps(record(2))
    for data in (text, text.encode("utf-8")):
        file = parse_seed_file(data)
        assert file.problems == ()
        assert file.lines == (2, 4)


def test_line_separators_inside_a_text_do_not_end_a_line() -> None:
    text = "one\u2028two\x85three"
    file = parse_seed_file(json.dumps(record(1, instruction=text), ensure_ascii=False) + "\n" + json.dumps(record(2)))
    assert file.problems == () and file.lines == (1, 2)
    assert file.tasks[0].instruction == text


FAULTS = {
    "broken-json": '{"id": "x", ',
    "not-an-object": "[1]",
    "missing-field": json.dumps(record(9, name=None)),
    "wrong-type": json.dumps(record(9, is_classification="yes")),
    "empty-instruction": json.dumps(record(9, instruction=" \n")),
    "no-instances": json.dumps(record(9, instances=[])),
    "duplicate-id": json.dumps(record(1)),
    "bad-id": json.dumps(record(9, id="two\nlines")),
    "lone-surrogate": json.dumps(record(9, instruction="half \ud83d")),
    "repeated-field": '{"id": "a", "id": "b", "instruction": "Say it.", "output": "x"}',
}


@pytest.mark.parametrize("rule", FAULTS)
def test_a_fault_on_line_7_is_named_with_its_line(rule: str) -> None:
    sound = [json.dumps(record(n)) for n in range(1, 7)]
    file = parse_seed_file("\n".join([*sound, FAULTS[rule], json.dumps(record(8))]))
    assert (7, rule) in found(file)
    assert {p.line for p in file.errors} == {7}
    assert [task.task_id for task in file.tasks] == [f"seed_task_{n}" for n in (1, 2, 3, 4, 5, 6, 8)]


def test_every_fault_is_reported_at_once() -> None:
    file = parse_seed_file("\n".join(FAULTS.values()))
    assert {p.line for p in file.errors} >= set(range(1, 7)) | {8, 9, 10}
    by_line = {p.line: p.rule for p in file.errors}
    assert by_line[1] == "broken-json" and by_line[4] == "wrong-type" and by_line[9] == "lone-surrogate"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": 3}, '"id" must be text, not a number'),
        ({"is_classification": 1}, '"is_classification" must be true or false, not a number'),
        ({"instances": "x"}, '"instances" must be a list, not text'),
        ({"instances": ["x"]}, "instance 1 must be an object with input and output, not text"),
        ({"instances": [{"input": "", "output": "a"}, {"output": "b"}]}, 'instance 2: "input" is missing'),
        ({"instances": [{"input": [], "output": "a"}]}, 'instance 1: "input" must be text, not a list'),
        ({"instances": None}, 'there is neither "instances" (Self-Instruct\'s shape) nor "output" (Alpaca\'s)'),
    ],
)
def test_the_sentence_says_what_and_where(changes: dict[str, Any], sentence: str) -> None:
    assert [p.detail for p in parse_seed_file(lines(record(1, **changes))).errors] == [sentence]


def test_null_is_no_text() -> None:
    text = json.dumps(record(1)).replace('"input": ""', '"input": null')
    assert [p.detail for p in parse_seed_file(text).errors] == ['instance 1: "input" must be text, not null']


def test_fields_that_nobody_reads_are_told_once() -> None:
    file = parse_seed_file(lines(record(1, source="me"), record(2, source="you"), record(3)))
    assert len(file.tasks) == 3 and file.errors == ()
    assert [(p.rule, p.detail) for p in file.problems] == [
        ("unknown-field", "the field 'source' is not read (in 2 records)")
    ]


def test_a_list_with_broken_items_goes_on_at_the_next() -> None:
    text = '[\n  {"instruction": "One." "x"},\n  {"instruction": "Two.", "output": "2"},\n  {"instruction": 3}\n]'
    file = parse_seed_file(text)
    assert [t.instruction for t in file.tasks] == ["Two."]
    assert (2, "broken-json") in found(file) and (4, "wrong-type") in found(file)
    assert all(p.detail.startswith("item 3: ") for p in file.errors if p.line == 4)


@pytest.mark.parametrize(
    ("data", "line", "rule"),
    [
        (b"", 0, "empty-file"),
        (b" \r\n \n", 0, "empty-file"),
        (b"[]", 0, "empty-file"),
        (b"[] and more", 1, "broken-json"),
        (b'\n[{"instruction": "a", "output": "b"}', 2, "broken-json"),
        (b'{\n"instruction": "a",\n"output": "b"}', 1, "broken-json"),
        (b'{"instruction": "a", "output": "b"},', 1, "broken-json"),
        (b'{"instruction": "a", "output": NaN}', 1, "broken-json"),
        (b'\n{"instruction": "caf\xe9", "output": "b"}', 2, "not-utf8"),
        ('{"instruction": "a", "output": "b"}'.encode("utf-16"), 0, "not-utf8"),
        (b"SQLite format 3\0", 0, "not-utf8"),
        (b"[" * 100_000, 1, "broken-json"),
        (b"1" * 100_000, 1, "broken-json"),
        (b"null", 1, "not-an-object"),
    ],
)
def test_what_is_no_seed_file(data: bytes, line: int, rule: str) -> None:
    file = parse_seed_file(data)
    assert file.tasks == ()
    assert [(p.line, p.rule) for p in file.errors] == [(line, rule)]


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_reading_never_raises(data: bytes | str) -> None:
    file = parse_seed_file(data)
    assert file.tasks or file.errors


TEXTS = st.text(max_size=40)
TASKS = st.lists(
    st.builds(
        SeedTask,
        task_id=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
            str.strip
        ),
        name=TEXTS,
        instruction=TEXTS,
        instances=st.lists(st.builds(Instance, TEXTS, TEXTS), min_size=1, max_size=3).map(tuple),
        is_classification=st.booleans(),
    ).filter(lambda task: not task_errors(task)),
    min_size=1,
    max_size=6,
    unique_by=lambda task: task.task_id,
)


@given(TASKS, st.booleans())
def test_round_trip(tasks: list[SeedTask], ascii: bool) -> None:
    text = dump_seed_file(tasks, ascii=ascii)
    file = parse_seed_file(text.encode("utf-8"))
    assert file.problems == ()
    assert list(file.tasks) == tasks
    assert dump_seed_file(file.tasks, ascii=ascii) == text
    assert text.isascii() or not ascii
    assert len(text.splitlines()) == len(tasks)


@given(TASKS)
def test_cleaning_keeps_a_task_fit_and_is_done_once(tasks: list[SeedTask]) -> None:
    for task in tasks:
        cleaned = clean_task(task)
        assert task_errors(cleaned) == []
        assert clean_task(cleaned) == cleaned
        assert "\x1b" not in cleaned.instruction


def test_the_shipped_file_is_canonical() -> None:
    data = resources.seed_tasks_path().read_bytes()
    file = parse_seed_file(data)
    assert file.problems == ()
    assert dump_seed_file(file.tasks).encode("utf-8") == data


def test_references_need_an_instruction_only() -> None:
    text = '{"id": "a", "instruction": "Say hello."}\n{"instruction": "Say more.", "instances": 3}\n{"input": "x"}\n'
    references, problems = parse_references(text)
    assert [(r.line, r.id, r.instruction) for r in references] == [(1, "a", "Say hello."), (2, "line 2", "Say more.")]
    assert [(p.line, p.rule) for p in problems] == [(3, "missing-field")]
