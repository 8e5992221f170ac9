"""Reading completions: what a user gets from lists and instances that went right, and from those that went wrong."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.parsing import (
    MAX_ITEM_CHARS,
    Mode,
    parse_classification,
    parse_input_first,
    parse_instruction_list,
    parse_output_first,
)
from alpaca_tui.core.records import FinishReason, ParsedInstances
from alpaca_tui.core.text import capitalise_first, clean_text, one_line

CUE = "Example 1\nInput:"

# Text that looks like what a model emits: markers of every kind between words, blanks, and controls.
_PIECES = st.sampled_from(
    [
        "9. ",
        "\n10. ",
        "\n11.",
        "\n1. ",
        "\n2) ",
        "\n   3. ",
        "\nTask 12: ",
        "\n16 .",
        "\n\n",
        "\n",
        "\r\n",
        "\r",
        "Input:",
        "\nInput: ",
        "\nOutput:",
        " Output: ",
        "\nExample 2\n",
        "Example 1",
        "\nClass label: ",
        "none",
        "\nTask: ",
        "Yes",
        " no",
        "\x1b[2J",
        "\x00",
        "\x85",
        "\u2028",
        "\ud800",
        "\u202e",
        " ",
        "\t",
        ":",
        ".",
        "ß",
        "Translate to French",
        "日本語の文",
        "اكتب قصيدة",
        "a",
        "Describe the following:",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=40).map("".join))
MODES = st.sampled_from(["fixed", "faithful"])
REASONS = st.sampled_from(["eos", "stop", "length", "loop", "error"])


def pairs(parsed: ParsedInstances) -> list[tuple[str, str]]:
    return [(instance.input, instance.output) for instance in parsed.instances]


def assert_inert(text: str) -> None:
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    text.encode()


class TestInstructionList:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                " write a poem.\n10. Name  three\tfruits.\n11.  why?",
                ["Write a poem.", "Name three fruits.", "Why?"],
            ),
            (" A\n10. B\n11. C\n12.", ["A", "B", "C"]),
            (" A\n10) B\n11: C\n12 . D", ["A", "B", "C", "D"]),
            (" A\nTask 10: B\n", ["A", "B"]),
            ("9. A\n10. B", ["A", "B"]),
            (" Translate this\nsentence into French.\n10. B", ["Translate this sentence into French.", "B"]),
            (" It costs 16. Say why.\n10. B", ["It costs 16. Say why.", "B"]),
            (" 把这句话翻译成英文。\n10. Écris un poème.", ["把这句话翻译成英文。", "Écris un poème."]),
            (" In 2024. What then?\n2024. Not a number of this list\n10. B",
             ["In 2024. What then? 2024. Not a number of this list", "B"]),
        ],
    )  # fmt: skip
    def test_a_list_that_went_right(self, text: str, expected: list[str]) -> None:
        parsed = parse_instruction_list(text, 9, "stop")
        assert list(parsed.items) == expected
        assert parsed.problem is None

    @pytest.mark.parametrize(
        "text",
        [
            " Do the following:\n1. Mix\n2. Bake\n10. B",
            " Do the following\n1. Mix\n2. Bake\n10. B",
            " Do the following\n   1. Mix\n   2. Bake\n10. B",
        ],
    )
    def test_a_list_inside_an_item_stays_part_of_it(self, text: str) -> None:
        parsed = parse_instruction_list(text, 9, "stop")
        assert parsed.items == (
            f"Do the following{':' if ':' in text else ''} 1. Mix 2. Bake",
            "B",
        )
        assert parsed.problem is None

    def test_a_list_at_the_end_of_the_last_item_stays_part_of_it(self) -> None:
        parsed = parse_instruction_list(" A\n10. Order these:\n1. one\n2. two\n3. three", 9, "eos")
        assert parsed.items == ("A", "Order these: 1. one 2. two 3. three")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (" A\n1. B\n2. C", ("A", "B", "C")),
            (" A\n12. B\n13. C", ("A", "B", "C")),
            (" A\n9. B\n9. C", ("A", "B", "C")),
            (" A\n11. B\n10. C", ("A", "B", "C")),
        ],
    )
    def test_wrong_numbers_are_read_and_noted(self, text: str, expected: tuple[str, ...]) -> None:
        parsed = parse_instruction_list(text, 9, "stop")
        assert parsed.items == expected
        assert parsed.problem == "numbers that started again or jumped"

    def test_blank_items_are_dropped_and_counted(self) -> None:
        parsed = parse_instruction_list(" A\n10. \n11.\n12. D", 9, "stop")
        assert parsed.items == ("A", "D")
        assert parsed.problem == "2 blank items"

    @pytest.mark.parametrize("text", ["", " ", "\n\n", "10.", "\n10. ", "9.", "\x00"])
    @pytest.mark.parametrize("reason", ["eos", "stop", "length", "error"])
    def test_nothing_at_all_is_a_problem(self, text: str, reason: FinishReason) -> None:
        parsed = parse_instruction_list(text, 9, reason)
        assert parsed.items == ()
        assert parsed.problem

    def test_a_list_that_begins_with_the_next_number_loses_only_the_blank_item(self) -> None:
        parsed = parse_instruction_list("10. B\n11. C", 9, "stop")
        assert parsed.items == ("B", "C")
        assert parsed.problem == "1 blank item"

    def test_a_list_cut_by_length_keeps_its_whole_items(self) -> None:
        text = " Translate into French.\n10. Explain DNA.\n11. Write a le"
        fixed = parse_instruction_list(text, 9, "length")
        assert fixed.items == ("Translate into French.", "Explain DNA.")
        assert fixed.problem == "the last item was cut by length"
        faithful = parse_instruction_list(text, 9, "length", "faithful")
        assert faithful.items == ()
        assert faithful.problem == "the completion was cut by length and dropped whole"

    def test_a_list_cut_right_after_a_line_keeps_that_line(self) -> None:
        assert parse_instruction_list(" A\n10. B\n", 9, "length").items == ("A", "B")

    def test_a_single_item_cut_by_length_leaves_nothing(self) -> None:
        parsed = parse_instruction_list(" Write a letter to the", 9, "length")
        assert parsed.items == ()
        assert parsed.problem == "the last item was cut by length"

    def test_faithful_lowers_french_and_dna_as_the_reference_does(self) -> None:
        text = " translate into French.\n10. Explain DNA."
        assert parse_instruction_list(text, 9, "stop").items == ("Translate into French.", "Explain DNA.")
        assert parse_instruction_list(text, 9, "stop", "faithful").items == (
            "Translate into french.",
            "Explain dna.",
        )

    @pytest.mark.parametrize("mode", ["fixed", "faithful"])
    def test_a_run_away_item_is_dropped(self, mode: Mode) -> None:
        parsed = parse_instruction_list(f" A\n10. {'x' * (MAX_ITEM_CHARS + 1)}\n11. C", 9, "stop", mode)
        assert parsed.items == ("A", "C")
        assert parsed.problem

    @given(TEXTS, st.integers(1, 20), REASONS, MODES)
    def test_any_text_is_read(self, text: str, first: int, reason: FinishReason, mode: Mode) -> None:
        parsed = parse_instruction_list(text, first, reason, mode)
        assert parsed == parse_instruction_list(text, first, reason, mode)
        for item in parsed.items:
            assert item and item == one_line(item)
            assert len(item) <= MAX_ITEM_CHARS
            assert_inert(item)
        assert parsed.items or parsed.problem

    @given(st.lists(st.from_regex(r"[A-Z][a-z]{1,8}( [a-zA-Z0-9,]{1,8}){0,9}[.?]", fullmatch=True), min_size=1))
    def test_what_is_written_as_a_list_is_read_back(self, items: list[str]) -> None:
        text = "".join(f"{'' if n == 9 else f'{n}.'} {item}\n" for n, item in enumerate(items, start=9))
        assert parse_instruction_list(text, 9, "stop").items == tuple(items)


class TestClassification:
    @pytest.mark.parametrize("text", [" Yes", "yes", " YES.", "\nYes\nTask: x", "**Yes**", "Yes, because", '"yes"'])
    def test_yes(self, text: str) -> None:
        assert parse_classification(text) is True

    @pytest.mark.parametrize("text", [" No", "no", "NO!", " no\n", "(No)", "no way"])
    def test_no(self, text: str) -> None:
        assert parse_classification(text) is False

    @pytest.mark.parametrize("text", ["", " ", "Maybe", "Yesterday", "Nothing", "It is: yes", "否", "\x00"])
    def test_neither(self, text: str) -> None:
        assert parse_classification(text) is None

    @given(TEXTS)
    def test_any_text_is_read(self, text: str) -> None:
        assert parse_classification(text) in (True, False, None)


class TestOutputFirst:
    def test_labels_and_inputs(self) -> None:
        parsed = parse_output_first(
            " Spam\nInput: You won!\nCall now.\nClass label: Not spam\nInput: See you at six.\n",
            "stop",
            cue="Class label:",
        )
        assert pairs(parsed) == [("You won!\nCall now.", "Spam"), ("See you at six.", "Not spam")]
        assert [instance.position for instance in parsed.instances] == [0, 1]
        assert parsed.problem is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Class label: A\nSentence: x\nClass label: B\nSentence: y", [("Sentence: x", "A"), ("Sentence: y", "B")]),
            ("Class label:\nA\nInput: x", [("x", "A")]),
            ("class Label 1: A\nInput: x\nlabel 2: B\nInput: y", [("x", "A"), ("y", "B")]),
            ("Class label: A", [("", "A")]),
            ("Class label: A\nInput: N/A", [("", "A")]),
            ("Class label: A\nInput: the words Class label: inside", [("the words Class label: inside", "A")]),
            ("Class label: A\nInput: x\n\nTask: another\nClass label: B\nInput: y", [("x", "A")]),
        ],
    )  # fmt: skip
    def test_shapes_that_models_write(self, text: str, expected: list[tuple[str, str]]) -> None:
        parsed = parse_output_first(text, "eos")
        assert pairs(parsed) == expected
        assert parsed.problem is None

    @pytest.mark.parametrize(
        ("text", "expected", "problem"),
        [
            ("", [], "no instance"),
            ("I cannot do that.", [], "no instance"),
            ("Class label:\nInput: x\nClass label: B\nInput: y", [("y", "B")], "1 instance without an output"),
            ("Class label: A\nInput: x\nOutput: A", [("x", "A")], "an output after a class label"),
            ("Sure!\nClass label: A\nInput: x", [("x", "A")], "text before the first class label"),
        ],
    )
    def test_what_went_wrong_is_told(self, text: str, expected: list[tuple[str, str]], problem: str) -> None:
        parsed = parse_output_first(text, "eos")
        assert pairs(parsed) == expected
        assert parsed.problem is not None and problem in parsed.problem

    def test_more_than_the_limit_is_dropped(self) -> None:
        text = "".join(f"Class label: L{n}\nInput: i{n}\n" for n in range(8))
        parsed = parse_output_first(text, "stop", max_instances=5)
        assert len(parsed.instances) == 5
        assert parsed.problem == "3 instances beyond the limit of 5"

    @pytest.mark.parametrize("mode", ["fixed", "faithful"])
    def test_a_torn_last_instance_is_dropped(self, mode: Mode) -> None:
        parsed = parse_output_first("Class label: A\nInput: x\nClass label: B\nInput: lon", "length", mode=mode)
        assert pairs(parsed)[0][1] == "A" and len(parsed.instances) == 1
        assert parsed.problem == "the last instance was cut by length"

    @pytest.mark.parametrize("end", ["length", "loop", "error"])
    def test_an_output_that_another_follows_is_whole_however_the_completion_ends(self, end: FinishReason) -> None:
        """It is the dropped one that was cut or ran in a loop."""
        parsed = parse_input_first(" a\nOutput: b\nOutput: c\nOutput: to", end, cue=CUE)
        assert pairs(parsed) == [("a", "b")]
        assert parsed.problem == "a second output of one example was dropped"

    def test_a_torn_only_instance_is_kept_when_fixed(self) -> None:
        fixed = parse_output_first("Class label: A\nInput: lon", "length")
        assert pairs(fixed) == [("lon", "A")]
        assert fixed.problem == "the only instance was cut by length"
        assert parse_output_first("Class label: A\nInput: lon", "length", mode="faithful").instances == ()


class TestInputFirst:
    def test_examples(self) -> None:
        parsed = parse_input_first(
            " a\nb\nOutput: A\n\nB\nExample 2\nInput: c\nOutput: C\n", "stop", cue=CUE, max_instances=5
        )
        assert pairs(parsed) == [("a\nb", "A\n\nB"), ("c", "C")]
        assert parsed.problem is None

    @pytest.mark.parametrize("nothing", ["none", "None.", "N/A", "n/a", "<none>", "(no input)", "<noinput>", "-", ""])
    def test_no_input(self, nothing: str) -> None:
        assert pairs(parse_input_first(f" {nothing}\nOutput: A poem.", "stop", cue=CUE)) == [("", "A poem.")]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Output: X", [("", "X")]),
            ("\nExample 1\nInput: a\nOutput: b\nExample 2\nInput: c\nOutput: d", [("a", "b"), ("c", "d")]),
            ("Example 1: Input: a\nOutput: b", [("a", "b")]),
            ("Input: a\nOutput: b\nInput: c\nOutput: d", [("a", "b"), ("c", "d")]),
            ("Input: a Output: b", [("a", "b")]),
            ("Example 1\nSentence: a\nOutput: b", [("Sentence: a", "b")]),
            ("Input 1: a\nOutput 1: b", [("a", "b")]),
            ("Input: a\nOutput: Take, for Example 7 days.", [("a", "Take, for Example 7 days.")]),
            ("Output: def f(x):\n    return x\n\nprint(f(1))", [("", "def f(x):\n    return x\n\nprint(f(1))")]),
            ("Input: a\nOutput: b\n\nTask: other\nExample 1\nInput: c\nOutput: d", [("a", "b")]),
        ],
    )  # fmt: skip
    def test_shapes_that_models_write(self, text: str, expected: list[tuple[str, str]]) -> None:
        parsed = parse_input_first(text, "eos")
        assert pairs(parsed) == expected
        assert parsed.problem is None

    @pytest.mark.parametrize(
        ("text", "expected", "problem"),
        [
            ("", [], "no instance"),
            ("A free reply.", [], "text before the first example"),
            ("Input: a", [], "1 instance without an output"),
            ("Input: a\nOutput:\nInput: c\nOutput: d", [("c", "d")], "1 instance without an output"),
            ("Input: a\nOutput: b\nOutput: c", [("a", "b")], "a second output of one example was dropped"),
            (
                "Input: none\nOutput: b\nExample 2\nInput: None\nOutput: c",
                [("", "b")],
                "1 further output without an input",
            ),
            (f"Input: a\nOutput: b\nExample 2\nInput: c\nOutput: {'d' * 30000}", [("a", "b")], "too long"),
        ],
    )
    def test_what_went_wrong_is_told(self, text: str, expected: list[tuple[str, str]], problem: str) -> None:
        parsed = parse_input_first(text, "eos")
        assert pairs(parsed) == expected
        assert parsed.problem is not None and problem in parsed.problem

    def test_a_torn_last_instance_is_dropped_and_the_whole_one_stays(self) -> None:
        for torn in ("Input: c\nOutput: to", "Input: c", "Input: c\nOutput:", "Input: none\nOutput: to"):
            parsed = parse_input_first(f" a\nOutput: b\nExample 2\n{torn}", "length", cue=CUE)
            assert pairs(parsed) == [("a", "b")]
            assert parsed.problem == "the last instance was cut by length"

    def test_a_torn_only_instance_is_kept_when_fixed(self) -> None:
        fixed = parse_input_first(" a\nOutput: to", "length", cue=CUE)
        assert pairs(fixed) == [("a", "to")]
        assert fixed.problem == "the only instance was cut by length"
        assert parse_input_first(" a\nOutput: to", "length", cue=CUE, mode="faithful").instances == ()

    def test_faithful_splits_at_the_word_example_as_the_reference_does(self) -> None:
        text = "Input: a\nOutput: Take, for Example 7 days."
        assert len(parse_input_first(text, "eos", mode="faithful").instances) == 2


@pytest.mark.parametrize("parse", [parse_output_first, parse_input_first])
@given(text=TEXTS, reason=REASONS, cue=st.sampled_from(["", "Class label:", CUE]), mode=MODES)
def test_any_text_ends_as_instances_or_as_a_reason(parse, text, reason, cue, mode):  # type: ignore[no-untyped-def]
    parsed = parse(text, reason, cue=cue, mode=mode, max_instances=5)
    assert parsed == parse(text, reason, cue=cue, mode=mode, max_instances=5)
    assert [instance.position for instance in parsed.instances] == list(range(len(parsed.instances)))
    assert len(parsed.instances) <= 5
    for instance in parsed.instances:
        assert instance.output
        for value in (instance.input, instance.output):
            assert value == value.strip()
            assert_inert(value)
    assert parsed.instances or parsed.problem


@pytest.mark.parametrize(
    "unit",
    [
        " ",
        "\n",
        "1. \n",
        "9.",
        "\n1. a\n\n\n",
        "Example ",
        "Output  ",
        " Output 1 ",
        "Input:\n",
        "\tInput",
        "x",
        "Input:a\n",
        "Output:",
        "Class label:\n",
        "Task",
        "Example 1\n",
        "\n   Output",
        "1",
        "\nlabel     ",
    ],
)
@pytest.mark.parametrize("mode", ["fixed", "faithful"])
def test_a_hundred_kilobytes_of_the_same_are_read(unit: str, mode: Mode) -> None:
    """No pattern runs away: a quadratic one would keep this test busy for many minutes."""
    text = unit * (100_000 // len(unit))
    for reason in ("stop", "length"):
        listed = parse_instruction_list(text, 9, reason, mode)  # type: ignore[arg-type]
        assert listed.items or listed.problem
        for parse in (parse_output_first, parse_input_first):
            parsed = parse(text, reason, mode=mode)  # type: ignore[arg-type]
            assert parsed.instances or parsed.problem
    parse_classification(text)


class TestText:
    @given(TEXTS)
    def test_clean_text_is_inert_and_stays_so(self, text: str) -> None:
        cleaned = clean_text(text)
        assert_inert(cleaned)
        assert clean_text(cleaned) == cleaned

    def test_clean_text_keeps_what_is_text(self) -> None:
        assert clean_text("a\tb\r\nc\rd\n é 日本 👩‍👩‍👧 \u00a0") == "a\tb\nc\nd\n é 日本 👩‍👩‍👧 \u00a0"

    def test_clean_text_disarms_escape_sequences(self) -> None:
        assert clean_text("\x1b]52;c;Zm9v\x07\x9b2Jx\x00\ud83d") == "]52;c;Zm9v2Jx"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("translate into French", "Translate into French"),
            ("iPhone sales", "iPhone sales"),
            ("élan", "Élan"),
            ("ß", "ß"),
            ("", ""),
            ("1 apple", "1 apple"),
            ("日本", "日本"),
        ],
    )
    def test_capitals(self, text: str, expected: str) -> None:
        assert capitalise_first(text) == expected
