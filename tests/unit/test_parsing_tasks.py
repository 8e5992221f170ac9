"""Reading whole tasks, and single outputs: what a user gets from completions that went right and from others."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.faults import FAULTS, cost
from alpaca_tui.core.parsing import MAX_FIELD_CHARS, MAX_ITEM_CHARS, Mode
from alpaca_tui.core.parsing_tasks import parse_output, parse_tasks
from alpaca_tui.core.records import Completion, FinishReason, ParsedTasks

WHOLE = """ Name a fruit.
4. Input:
<none>
4. Output:
A pear
###
5. Instruction: translate "DNA" into French
5. Input:
DNA
Input: is not a label here
5. Output:
ADN
###
6. Instruction: Say hello.
6. Input:
<none>
6. Output:
Hel"""

_PIECES = st.sampled_from(
    [
        *("4. Instruction:", "\n5. Input:", "\n5. Output:\n", "\n###\n", "###", "\n####\n", "\n 6) Instruction :"),
        *("Instruction:", "\nInput:", "\nOutput:", " Output: ", "<none>", "<noinput>", "\n1. a\n2. b", "\n   3. c"),
        *("\n\n", "\r\n", "\r", "\x1b[2J", "\x00", "\x85", "\u2028", "\ud800", "\udfff", "\u202e", "\t", " ", ":"),
        *("ß", "日本語の文", "اكتب قصيدة", "Übersetze", "напиши", "21.", "99999999. Instruction:", "4.\u00a0Output:"),
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=60).map("".join))
REASONS = st.sampled_from(["eos", "stop", "length", "loop", "error"])
MODES = st.sampled_from(["fixed", "faithful"])


def triples(parsed: ParsedTasks) -> list[tuple[str, str, str]]:
    return [(task.instruction, task.input, task.output) for task in parsed.tasks]


def is_inert(text: str) -> bool:
    text.encode("utf-8")
    return not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text)


class TestTasks:
    def test_a_list_that_went_right(self) -> None:
        parsed = parse_tasks(WHOLE, 4, "stop")
        assert triples(parsed) == [
            ("Name a fruit.", "", "A pear"),
            ('Translate "DNA" into French', "DNA\nInput: is not a label here", "ADN"),
            ("Say hello.", "", "Hel"),
        ]
        assert parsed.problem is None

    @pytest.mark.parametrize("reason", ["length", "loop", "error"])
    def test_what_was_cut_loses_its_last_task_only(self, reason: FinishReason) -> None:
        parsed = parse_tasks(WHOLE, 4, reason)
        assert len(parsed.tasks) == 2
        assert parsed.problem

    def test_a_task_behind_which_a_separator_was_written_is_whole(self) -> None:
        assert len(parse_tasks(WHOLE + "\n###\n", 4, "length").tasks) == 3

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                " Add.\nInput: 1 2\nOutput: 3\n###\nInstruction: Sub.\nOutput: 1",
                [("Add.", "1 2", "3"), ("Sub.", "", "1")],
            ),
            (" Add.\n4. Output: 3", [("Add.", "", "3")]),
            (" Add. Input: 1 2 Output: 3", [("Add.", "1 2", "3")]),
            (
                " Add.\n9. Input: 1 2\n8. Output: 3\n7. Instruction: Sub.\n7. Output: 1",
                [("Add.", "1 2", "3"), ("Sub.", "", "1")],
            ),
            (" List:\n4. Output:\n1. a\n2. b\n", [("List:", "", "1. a\n2. b")]),
            (" 答えてください。\n4. Input:\n水\n4. Output:\nみず\n###\n", [("答えてください。", "水", "みず")]),
            (" A.\n4. Input: n/a\n4. Output: b\n###\n5. Instruction:", [("A.", "", "b")]),
        ],
    )
    def test_shapes_that_models_write(self, text: str, expected: list[tuple[str, str, str]]) -> None:
        assert triples(parse_tasks(text, 4, "stop")) == expected

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "no task"),
            (" Do it.\n###\n5. Instruction: x\n5. Output: y", "a task without an output"),
            ("\n4. Output: y", "a task without an instruction"),
            ("blah\n###\nblah\n", "a task without an output; a task without an instruction"),
            (f" {'x' * (MAX_ITEM_CHARS + 1)}\n4. Output: y", "an item of 4,001 characters was dropped"),
            (f" x\n4. Output: {'y' * (MAX_FIELD_CHARS + 1)}", "a task with a field of over 20,000 characters"),
        ],
    )
    def test_what_was_left_out_is_told(self, text: str, problem: str) -> None:
        assert problem in str(parse_tasks(text, 4, "eos").problem)

    def test_faithful_wants_every_number_in_its_place_and_lowers_nothing(self) -> None:
        wrong = WHOLE.replace("5. Output", "6. Output")
        assert [task.instruction for task in parse_tasks(wrong, 4, "stop", "faithful").tasks] == [
            "Name a fruit.",
            "Say hello.",
        ]
        assert len(parse_tasks(wrong, 4, "stop").tasks) == 3

    @given(text=TEXTS, first=st.integers(1, 60), reason=REASONS, mode=MODES)
    def test_any_text_ends_as_tasks_or_as_a_reason(
        self, text: str, first: int, reason: FinishReason, mode: Mode
    ) -> None:
        parsed = parse_tasks(text, first, reason, mode)
        assert parsed.tasks or parsed.problem
        assert [task.position for task in parsed.tasks] == list(range(len(parsed.tasks)))
        for task in parsed.tasks:
            assert task.instruction and task.output
            assert "\n" not in task.instruction
            assert all(map(is_inert, (task.instruction, task.input, task.output)))

    _WORDS = st.text(st.characters(whitelist_categories=("Ll", "Lu", "Lo")), min_size=2, max_size=12)

    @given(tasks=st.lists(st.tuples(_WORDS, _WORDS, _WORDS), min_size=1, max_size=17))
    def test_what_is_written_as_asked_is_read_back_in_both_modes(self, tasks: list[tuple[str, str, str]]) -> None:
        text = "\n###\n".join(
            f"{n}. Instruction: do {a}\n{n}. Input:\nof {b}\n{n}. Output:\nit is {c}"
            for n, (a, b, c) in enumerate(tasks, start=4)
        ).removeprefix("4. Instruction:")
        modes: tuple[Mode, ...] = ("fixed", "faithful")
        for mode in modes:
            read = [(t.instruction.casefold(), t.input, t.output) for t in parse_tasks(text, 4, "stop", mode).tasks]
            assert read == [(f"do {a}".casefold(), f"of {b}", f"it is {c}") for a, b, c in tasks]


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "###",
            "\n###\n",
            "4. Instruction:",
            "\n4. Instruction: a\n4. Input:",
            "Output:",
            "\nInput:\n",
            "\nOutput: a",
        ),
        *(
            "x",
            "4. ",
            "4.\n",
            " ",
            "\t",
            "#",
            "\n",
            "\n4. Output:x\n###",
            "Input :",
            " Output ",
            "4" * 7,
            ". ",
            "<none",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_a_hundred_kilobytes_of_the_same_are_read(unit: str, mode: Mode) -> None:
    """No pattern runs away: a quadratic one would keep this test busy for many minutes."""
    text = unit * (100_000 // len(unit))
    for reason in ("stop", "length"):
        parsed = parse_tasks(text, 4, reason, mode)  # type: ignore[arg-type]
        assert parsed.tasks or parsed.problem
    parse_output(text, "stop")


class TestOutput:
    def test_the_whole_text_is_the_output(self) -> None:
        assert parse_output(" One.\n\nTwo.\x1b[0m \n", "stop").output == "One.\n\nTwo.[0m"

    @pytest.mark.parametrize(
        ("text", "reason", "kept", "problem"),
        [
            (" \n", "eos", False, "empty"),
            ("x", "error", False, "failed"),
            ("x x x", "loop", False, "loop"),
            ("a b", "length", True, "cut by length"),
            ("y" * (MAX_FIELD_CHARS + 1), "eos", False, "20,001 characters"),
        ],
    )
    def test_what_went_wrong_is_told(self, text: str, reason: FinishReason, kept: bool, problem: str) -> None:
        parsed = parse_output(text, reason)
        assert (parsed.output is not None) == kept
        assert problem in str(parsed.problem)

    @given(text=TEXTS, reason=REASONS)
    def test_any_text_ends_as_an_output_or_as_a_reason(self, text: str, reason: FinishReason) -> None:
        parsed = parse_output(text, reason)
        assert parsed.output or parsed.problem
        assert parsed.output is None or is_inert(parsed.output)


class TestCost:
    @staticmethod
    def completion(text: str, reason: FinishReason, stopped_by: str | None = None) -> Completion:
        return Completion(text, reason, 1, 1, 1.0, stopped_by=stopped_by)

    def test_a_cut_completion_costs_what_fixed_keeps(self) -> None:
        assert cost(self.completion("x", "length"), [], ["A", "B"]) == {"items_lost_by_length": 2}

    def test_lowered_capitals_are_counted_item_by_item(self) -> None:
        found = cost(self.completion("x", "eos"), ["Translate to french", "Add"], ["Translate to French", "Add"])
        assert found == {"items_lowercased": 1}

    @pytest.mark.parametrize(
        ("text", "stop", "torn"),
        [("it costs ", "16.", 1), ("whole item", "\n16", 0), ("whole item\n", "16.", 0), ("", "Task:", 0)],
    )
    def test_a_stop_in_the_midst_of_a_line_tears_an_item(self, text: str, stop: str, torn: int) -> None:
        assert cost(self.completion(text, "stop", stop), ["a"], ["a"]).get("items_torn_by_stop", 0) == torn

    def test_a_failed_call_counts_as_that_alone(self) -> None:
        assert cost(self.completion("", "error"), [], []) == {"failed_calls_kept_empty": 1}

    @given(
        text=TEXTS,
        reason=REASONS,
        stop=st.sampled_from([None, "16.", "\n16"]),
        items=st.lists(st.text(max_size=9), max_size=5),
    )
    def test_only_known_faults_and_never_a_zero(
        self, text: str, reason: FinishReason, stop: str | None, items: list[str]
    ) -> None:
        found = cost(self.completion(text, reason, stop), items, [*items, "more"])
        assert set(found) <= set(FAULTS)
        assert all(count > 0 for count in found.values())
