"""Prompt packs: the shipped ones as a user gets them, what a broken one is told, and exact rendering."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.core.parsing import parse_input_first, parse_instruction_list, parse_output_first
from alpaca_tui.core.prompts import Pack, pack_hash, parse_pack, render, render_training, with_options
from alpaca_tui.core.records import SamplingParams
from alpaca_tui.resources import pack_names, prompt_packs_dir, read_pack, seed_tasks_path

EIGHT = [f"Do thing {n}." for n in range(1, 9)]
THREE = [{"instruction": f"Do {n}.", "input": "" if n == 2 else f"in\n{n}", "output": f"out {n}"} for n in (1, 2, 3)]
FEW_SHOT = ("classification", "output_first", "input_first")


@pytest.fixture(scope="module")
def pack() -> Pack:
    return read_pack("self-instruct")


@pytest.fixture
def files(pack: Pack) -> dict[str, str]:
    """The shipped pack's files, to break one of them."""
    return dict(pack.files)


class TestShippedPacks:
    def test_both_are_there(self) -> None:
        assert pack_names() == ["alpaca", "self-instruct"]

    def test_the_numbers_of_self_instruct(self, pack: Pack) -> None:
        shown = pack.demonstrations
        assert (shown.count, shown.human, shown.machine) == (8, 6, 2)
        instruction = pack.stage("instruction")
        assert (instruction.first_number, instruction.last_number) == (9, 16)
        assert instruction.params == SamplingParams(0.7, 0.9, 2.0, 512, ("\n\n", "\n17."))
        assert instruction.faithful_params == SamplingParams(0.7, 0.5, 2.0, 1024, ("\n\n", "\n16", "16.", "16 ."))
        assert instruction.sampling("faithful") == instruction.faithful_params
        assert instruction.sampling() == instruction.params
        classification = pack.stage("classification")
        assert classification.choices == (" Yes", " No")
        assert classification.params == SamplingParams(max_new_tokens=3, stop=("\n",))
        assert Counter(example.label for example in classification.examples) == {"Yes": 12, "No": 19}
        assert pack.stage("output_first").params.max_new_tokens == 300
        assert pack.stage("input_first").params.max_new_tokens == 350
        for stage in ("output_first", "input_first"):
            assert pack.stage(stage).params.presence_penalty == 1.5
            assert pack.stage(stage).max_instances == 5

    def test_the_numbers_of_alpaca(self) -> None:
        alpaca = read_pack("alpaca")
        assert alpaca.demonstrations.count == 3
        stage = alpaca.stage("instruction")
        assert (stage.style, stage.first_number, stage.last_number) == ("tasks", 4, 20)
        assert stage.params.temperature == 1.0
        with pytest.raises(UsageError, match="has no stage 'classification'"):
            alpaca.stage("classification")

    @pytest.mark.parametrize("name", ["self-instruct", "alpaca"])
    def test_every_stage_cites_its_source(self, name: str) -> None:
        for stage in read_pack(name).stages.values():
            assert re.search(r"Paper|Alpaca", stage.source)

    def test_few_shot_examples_are_rich(self, pack: Pack) -> None:
        output_first = pack.stage("output_first").examples
        assert len(output_first) >= 6
        assert all(len({instance.output for instance in example.instances}) >= 2 for example in output_first)
        input_first = pack.stage("input_first").examples
        assert len(input_first) >= 9
        assert sum(len(example.instances) > 1 for example in input_first) >= 3
        assert sum(not example.instances[0].input for example in input_first) >= 3

    def test_few_shot_examples_differ_from_each_other_and_from_the_seeds(self, pack: Pack) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        texts = [example.instruction for name in FEW_SHOT for example in pack.stage(name).examples]
        lines = seed_tasks_path().read_text("utf-8").splitlines()
        seeds = [json.loads(line)["instruction"] for line in lines]
        scorer = RougeScorer(["rougeL"])
        for place, text in enumerate(texts):
            for other in [*texts[:place], *seeds]:
                assert scorer.score(text, other)["rougeL"].fmeasure <= 0.6, (text, other)

    def test_code_in_the_examples_runs(self, pack: Pack) -> None:
        functions: dict[str, object] = {}
        examples = (*pack.stage("output_first").examples, *pack.stage("input_first").examples)
        for example in examples:
            for instance in example.instances:
                for code in (instance.input, instance.output):
                    if code.startswith("def "):
                        exec(code, functions)
        assert functions["vowels"]("Audio test") == list("Auioe")  # type: ignore[operator]
        assert functions["initials"]("Ada King") == "AK"  # type: ignore[operator]
        row = {"price": 2, "count": 3}
        functions["add_total"](row)  # type: ignore[operator]
        assert row["total"] == 6

    def test_what_the_examples_show_is_what_the_parsers_read(self, pack: Pack) -> None:
        """The prompt's own format, read back: the few-shot examples come out as they went in."""
        for name, parse in (("output_first", parse_output_first), ("input_first", parse_input_first)):
            stage = pack.stage(name)
            blocks = render(pack, name, {"instruction": "x"}).split("\n\nTask: ")[1:-1]
            assert len(blocks) == len(stage.examples)
            for block, example in zip(blocks, stage.examples, strict=True):
                answer = block.removeprefix(example.instruction + "\n").removeprefix(stage.cue)
                parsed = parse(answer, "stop", cue=stage.cue, max_instances=stage.max_instances)
                read = [(instance.input, instance.output) for instance in parsed.instances]
                assert read == [(instance.input, instance.output) for instance in example.instances]
                assert parsed.problem is None


class TestRender:
    def test_the_list_ends_with_the_number_to_go_on_from(self, pack: Pack) -> None:
        prompt = render(pack, "instruction", {"demonstrations": EIGHT})
        assert prompt.splitlines()[1:] == [*(f"{n}. {text}" for n, text in enumerate(EIGHT, start=1)), "9."]
        assert prompt.endswith("\n9.")

    def test_a_demonstration_is_one_line_without_a_colon_at_its_end(self, pack: Pack) -> None:
        shown = ["Sort these\n words :", *EIGHT[1:]]
        assert "\n1. Sort these words\n2. " in render(pack, "instruction", {"demonstrations": shown})

    def test_alpaca_shows_whole_tasks(self) -> None:
        prompt = render(read_pack("alpaca"), "instruction", {"demonstrations": THREE})
        assert "###\n1. Instruction: Do 1.\n1. Input:\nin\n1\n1. Output:\nout 1\n###\n2. Instruction:" in prompt
        assert "2. Input:\n<none>\n2. Output:\nout 2\n" in prompt
        assert prompt.endswith("\n###\n4. Instruction:")

    @pytest.mark.parametrize(
        ("stage", "end"),
        [
            ("classification", "\n\nTask: Sort it.\nClassification?"),
            ("output_first", "\n\nTask: Sort it.\nClass label:"),
            ("input_first", "\n\nTask: Sort it.\nExample 1\nInput:"),
        ],
    )
    def test_all_but_the_subject_is_a_shared_prefix(self, pack: Pack, stage: str, end: str) -> None:
        one = render(pack, stage, {"instruction": "Sort it."})
        two = render(pack, stage, {"instruction": "Another, longer instruction?"})
        assert one.endswith(end)
        head = one.removesuffix(end)
        assert two.startswith(head)
        assert len(head) > 0.97 * len(one)

    @given(st.text())
    def test_any_subject_is_inserted_as_it_is_and_the_prompt_never_ends_in_white_space(self, text: str) -> None:
        pack = read_pack("self-instruct")
        for stage in FEW_SHOT:
            try:
                prompt = render(pack, stage, {"instruction": text})
            except UsageError as error:
                assert "not empty" in str(error)
                continue
            assert prompt == prompt.rstrip()
            assert prompt.endswith(pack.stage(stage).cue)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", prompt)

    @pytest.mark.parametrize(
        "text", ["{{ examples }} and {% if x %}", "{# gone? #}", "{{ 7 * 7 }}", "<b>&amp;</b>", "$name \\1 %s"]
    )
    def test_nothing_in_a_subject_is_template_code(self, pack: Pack, text: str) -> None:
        assert f"\nTask: {text}\n" in render(pack, "classification", {"instruction": text})
        assert f"\n1. {text}\n" in render(pack, "instruction", {"demonstrations": [text, *EIGHT[1:]]})
        assert f"\n{text}\n" in render_training(pack, text, text)

    def test_nothing_in_an_example_is_template_code(self, files: dict[str, str]) -> None:
        row = {"instruction": "Say {{ instruction }} {% raw %}", "label": "Yes"}
        files["classification.jsonl"] += json.dumps(row) + "\n"
        prompt = render(parse_pack(files), "classification", {"instruction": "x"})
        assert "Task: Say {{ instruction }} {% raw %}\nClassification? Yes" in prompt

    @pytest.mark.parametrize(
        ("stage", "variables", "problem"),
        [
            ("classification", {}, "takes the variable 'instruction', not none"),
            ("classification", {"instruction": "x", "examples": []}, "not 'examples', 'instruction'"),
            ("classification", {"instruction": " \n "}, "not empty"),
            ("classification", {"instruction": 3}, "not empty"),
            ("instruction", {"demonstrations": EIGHT[:7]}, "shows 8 demonstrations, not 7"),
            ("instruction", {"demonstrations": "a string"}, "shows 8 demonstrations, not 0"),
            ("instruction", {"demonstrations": ["", *EIGHT[1:]]}, "not empty"),
            ("summary", {"instruction": "x"}, "has no stage 'summary'"),
        ],
    )
    def test_wrong_variables_are_refused(
        self, pack: Pack, stage: str, variables: dict[str, object], problem: str
    ) -> None:
        with pytest.raises(UsageError, match=re.escape(problem)):
            render(pack, stage, variables)

    def test_a_task_without_its_parts_is_refused(self) -> None:
        with pytest.raises(UsageError, match="needs instruction, input and output"):
            render(read_pack("alpaca"), "instruction", {"demonstrations": [{"instruction": "x"}] * 3})


class TestTraining:
    @pytest.mark.parametrize("name", ["self-instruct", "alpaca"])
    def test_the_input_section_is_there_only_with_an_input(self, name: str) -> None:
        pack = read_pack(name)
        without = render_training(pack, "Say hi.")
        assert without.endswith("\n\n### Instruction:\nSay hi.\n\n### Response:\n")
        assert "### Input" not in without
        assert render_training(pack, "Say hi.", " \n ") == without
        given_input = render_training(pack, " Say\n\nhi. ", "a\n  b\r\n")
        assert given_input.endswith("\n\n### Instruction:\nSay\n\nhi.\n\n### Input:\na\n  b\n\n### Response:\n")

    def test_an_empty_instruction_is_refused(self, pack: Pack) -> None:
        with pytest.raises(UsageError, match="not empty"):
            render_training(pack, " \x00 ")


class TestHash:
    def test_a_snapshot_renders_the_same(self, pack: Pack) -> None:
        again = parse_pack(json.loads(json.dumps(pack.files)))
        assert again == pack
        assert again.hash == pack.hash

    def test_it_depends_on_names_and_texts_and_not_on_the_order(self) -> None:
        assert pack_hash({"a": "1", "b": "2"}) == pack_hash({"b": "2", "a": "1"})
        hashes = {pack_hash(files) for files in ({"a": "12"}, {"a1": "2"}, {"a": "1", "b": "2"}, {"a": "", "12": ""})}
        assert len(hashes) == 4

    def test_any_change_of_a_file_changes_it(self, pack: Pack, files: dict[str, str]) -> None:
        files["instruction.txt"] = files["instruction.txt"].replace("different", "varied")
        assert parse_pack(files).hash != pack.hash


class TestBrokenPacks:
    @pytest.mark.parametrize(
        ("name", "old", "new", "problem"),
        [
            (
                "pack.toml",
                "top_p = 0.9",
                "top_p = 1.5",
                r"pack.toml, instruction.top_p: .*less than or equal to 1 \(it is 1.5\)",
            ),
            ("pack.toml", "temperature = 0.7", "temperature = nan", "instruction.temperature: .*finite"),
            (
                "pack.toml",
                "temperature = 0.7",
                'temperature = "hot"',
                r"instruction.temperature: .*valid number \(it is 'hot'\)",
            ),
            ("pack.toml", "max_new_tokens = 512", "max_new_tokens = 0", "instruction.max_new_tokens"),
            ("pack.toml", "max_new_tokens = 512\n", "", "instruction.max_new_tokens: field required"),
            ("pack.toml", "first_number = 9", "first_number = 8", "first_number should be 9"),
            ("pack.toml", "last_number = 16", "last_number = 6", "last_number 6 should not be below first_number 9"),
            ("pack.toml", "human = 6", "human = 5", r"demonstrations: human 5 \+ machine 2 should make count 8"),
            ("pack.toml", "top_p = 0.5", "topp = 0.5", "instruction.faithful.topp: extra inputs"),
            ("pack.toml", 'stop = ["\\n"]', 'stop = [""]', r"classification.stop.0"),
            ("pack.toml", '[" Yes", " No"]', '[" No", " Yes"]', "classification: choices should be Yes and No"),
            ("pack.toml", 'name = "self-instruct"', 'name = "../x"', r"prompt pack '../x', pack.toml, name"),
            ("pack.toml", "[training]", "[training", "pack.toml: not valid TOML"),
            (
                "pack.toml",
                '"output_first.txt"',
                '"nowhere.txt"',
                "output_first.template: the file 'nowhere.txt' is not",
            ),
            (
                "pack.toml",
                'cue = "Class label:"',
                'cue = "Label:x"',
                "output_first.txt: the prompt should end with the cue",
            ),
            (
                "classification.jsonl",
                '"label": "Yes"',
                '"label": "Maybe"',
                r"classification.jsonl, line 2, label: .*it is 'Maybe'",
            ),
            (
                "classification.jsonl",
                '"label": "Yes"}\n',
                '"label": "Yes"\n',
                "classification.jsonl, line 2: not valid JSON",
            ),
            (
                "output_first.jsonl",
                '"output": "Fact"',
                '"output": " "',
                "output_first.jsonl, line 1, instances.0.output",
            ),
            (
                "input_first.jsonl",
                '"instances": [{"input": "1 hour',
                '"cases": [{"input": "1 hour',
                "input_first.jsonl, line 1, instances: field required",
            ),
            (
                "classification.txt",
                "{{ example.label }}",
                "{{ example.labell }}",
                "classification: the template fails: .*labell",
            ),
            (
                "classification.txt",
                "{{ instruction }}",
                "{{ intsruction }}",
                "unknown variable 'intsruction'; a template of classification knows examples, instruction",
            ),
            (
                "classification.txt",
                "Task: {{ instruction }}",
                "Task: this",
                "classification.txt: the template leaves out 'instruction'",
            ),
            ("classification.txt", "{% endfor %}", "", "classification.txt, line .*endfor"),
            (
                "instruction.txt",
                "{{ instruction }}",
                "{{ loop.first }}",
                "instruction.txt: the template leaves out 'demonstrations'",
            ),
            ("instruction.txt", "{{ first_number }}", "{{ 1 / 0 }}", "the template fails: division by zero"),
            (
                "instruction.txt",
                "{{ first_number }}",
                "{{ first_number.__class__.__mro__ }}",
                "the template fails: .*unsafe",
            ),
            ("instruction.txt", "{{ first_number }}", '{% include "/etc/passwd" %}', "the template fails"),
            ("training.txt", "{{ input }}", "", "training.txt: the template leaves out 'input'"),
        ],
    )
    def test_one_fault_is_one_clear_sentence(
        self, files: dict[str, str], name: str, old: str, new: str, problem: str
    ) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)
        with pytest.raises(UsageError, match=problem) as caught:
            parse_pack(files)
        assert "\n" not in str(caught.value)
        assert "prompt pack" in str(caught.value)

    @pytest.mark.parametrize("missing", ["pack.toml", "instruction.txt", "input_first.jsonl", "training.txt"])
    def test_a_missing_file_is_named(self, files: dict[str, str], missing: str) -> None:
        del files[missing]
        with pytest.raises(UsageError, match=missing):
            parse_pack(files)

    def test_a_pack_without_an_instance_stage_is_refused(self, files: dict[str, str]) -> None:
        before, _, after = files["pack.toml"].partition("[input_first]")
        files["pack.toml"] = before + after[after.index("[training]") :]
        with pytest.raises(UsageError, match=r"also needs the table \[input_first\]"):
            parse_pack(files)

    @pytest.mark.parametrize("label", ["Yes", "No"])
    def test_few_shot_needs_both_answers(self, files: dict[str, str], label: str) -> None:
        lines = files["classification.jsonl"].splitlines(keepends=True)
        files["classification.jsonl"] = "".join(line for line in lines if f'"{label}"' not in line)
        with pytest.raises(UsageError, match=f"no example has the label '{label}'"):
            parse_pack(files)

    def test_an_empty_few_shot_file_is_refused(self, files: dict[str, str]) -> None:
        files["input_first.jsonl"] = "\n"
        with pytest.raises(UsageError, match=r"input_first.jsonl: it holds no example"):
            parse_pack(files)

    @given(st.sampled_from(["pack.toml", "instruction.txt", "output_first.jsonl"]), st.text())
    def test_any_text_in_a_file_ends_as_a_pack_or_as_a_sentence(self, name: str, text: str) -> None:
        files = {**read_pack("self-instruct").files, name: text}
        try:
            assert parse_pack(files).files[name] == text
        except UsageError as error:
            assert "\n" not in str(error)


class TestReadPack:
    @pytest.fixture
    def mine(self, tmp_path: Path) -> Path:
        folder = tmp_path / "prompts" / "self-instruct"
        folder.mkdir(parents=True)
        for name, text in read_pack("self-instruct").files.items():
            (folder / name).write_text(text, "utf-8")
        return folder

    def test_a_users_pack_wins_by_name(self, mine: Path) -> None:
        template = mine / "training.txt"
        template.write_text(template.read_text("utf-8").replace("### Response", "### Reply"), "utf-8")
        pack = read_pack("self-instruct", mine.parent)
        assert render_training(pack, "Hi").endswith("### Reply:\n")
        assert pack.hash != read_pack("self-instruct").hash
        assert read_pack("alpaca", mine.parent) == read_pack("alpaca")

    def test_an_unchanged_copy_has_the_same_hash_whatever_its_line_ends(self, mine: Path) -> None:
        for path in mine.iterdir():
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        (mine / "notes.md").write_text("not part of the pack")
        assert read_pack("self-instruct", mine.parent) == read_pack("self-instruct")

    def test_a_pack_of_ones_own_name(self, mine: Path) -> None:
        own = mine.rename(mine.with_name("mine"))
        manifest = (own / "pack.toml").read_text("utf-8")
        with pytest.raises(UsageError, match="the name is 'self-instruct', but the folder is 'mine'"):
            read_pack("mine", own.parent)
        (own / "pack.toml").write_text(manifest.replace('name = "self-instruct"', 'name = "mine"'), "utf-8")
        assert read_pack("mine", own.parent).name == "mine"
        assert pack_names(own.parent) == ["alpaca", "mine", "self-instruct"]

    @pytest.mark.parametrize("name", ["nope", "", "../prompts/alpaca", "/etc", "alpaca/"])
    def test_an_unknown_name_is_told_with_the_known_ones(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the packs are alpaca, self-instruct"):
            read_pack(name, tmp_path / "absent")

    def test_a_file_that_is_not_text_is_named(self, mine: Path) -> None:
        (mine / "training.txt").write_bytes(b"abc\xff")
        with pytest.raises(UsageError, match=r"training.txt: not UTF-8 text: byte 3 is 0xff"):
            read_pack("self-instruct", mine.parent)

    def test_a_huge_file_is_refused(self, mine: Path) -> None:
        (mine / "training.txt").write_bytes(b"x" * (1 << 21))
        with pytest.raises(UsageError, match="1 MiB"):
            read_pack("self-instruct", mine.parent)


def test_a_completion_of_the_rendered_list_is_read_on_from_its_number(pack: Pack) -> None:
    prompt = render(pack, "instruction", {"demonstrations": EIGHT})
    number = pack.stage("instruction").first_number
    assert prompt.endswith(f"{number}.")
    assert parse_instruction_list(" name it.\n10. why?", number, "stop").items == ("Name it.", "Why?")


def test_the_published_seeds_are_not_repeated(pack: Pack) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    published = Path(__file__).resolve().parents[3] / "shared" / "data" / "self_instruct_seed_tasks.jsonl"
    if not published.is_file():
        pytest.skip("the published seed tasks are not on this machine")
    theirs = [json.loads(line)["instruction"] for line in published.read_text("utf-8").splitlines()]
    scorer = RougeScorer(["rougeL"])
    for name in FEW_SHOT:
        for example in pack.stage(name).examples:
            for other in theirs:
                assert scorer.score(example.instruction, other)["rougeL"].fmeasure <= 0.6, (example, other)


def test_shipped_packs_lie_in_the_repository() -> None:
    assert (prompt_packs_dir() / "self-instruct" / "pack.toml").is_file()


class TestOptions:
    def test_none_leave_the_pack_as_it_is(self, pack: Pack) -> None:
        assert with_options(pack, PackOptions()) == pack

    def test_other_demonstrations_move_the_list_and_its_stops(self, pack: Pack) -> None:
        mine = with_options(pack, PackOptions(human=3, machine=1, per_request=5))
        stage = mine.stage("instruction")
        assert (mine.demonstrations.count, stage.first_number, stage.last_number) == (4, 5, 9)
        assert "\n10." in stage.params.stop
        assert render(mine, "instruction", {"demonstrations": EIGHT[:4]}).endswith("\n5.")

    def test_a_stored_pack_tells_its_options(self, pack: Pack) -> None:
        mine = with_options(pack, PackOptions(mode="faithful", settings={"instruction.temperature": 0.3}))
        assert parse_pack(mine.files) == mine
        assert mine.hash != pack.hash
        assert mine.sampling("instruction").temperature == 0.3
        assert mine.sampling("instruction").stop == ("\n\n", "\n16", "16.", "16 .")

    def test_what_a_person_sets_wins_over_faithful(self, pack: Pack) -> None:
        mine = with_options(pack, PackOptions(mode="faithful", settings={"instruction.top_p": 0.8}))
        assert mine.sampling("instruction").top_p == 0.8

    def test_fewer_instances_end_earlier(self, pack: Pack) -> None:
        mine = with_options(pack, PackOptions(max_instances=2)).stage("input_first")
        assert mine.max_instances == 2
        assert "\nExample 3" in mine.params.stop

    def test_faithful_never_ends_a_loop_and_fixed_does(self, pack: Pack) -> None:
        for stage in ("output_first", "input_first"):
            assert pack.stage(stage).params.max_repeats > 1
            assert pack.stage(stage).faithful_params.max_repeats == 0
            assert pack.stage(stage).faithful_params.once == ()
        assert pack.stage("input_first").params.once[0] == "\nOutput:"

    def test_faithful_alpaca_numbers_its_requirements_as_published(self) -> None:
        for mode, numbers in (("fixed", "123456789"), ("faithful", "123234567")):
            pack = with_options(read_pack("alpaca"), PackOptions(mode=mode))
            requirements = render(pack, "instruction", {"demonstrations": THREE}).partition("\n\nThe 20 tasks:")[0]
            assert "".join(re.findall(r"^(\d)\. ", requirements, re.MULTILINE)) == numbers

    @pytest.mark.parametrize("name", ["alpaca", "self-instruct"])
    def test_classification_only_asks_for_it(self, name: str) -> None:
        pack = with_options(read_pack(name), PackOptions(classification_only=True))
        shown: list[object] = list(THREE if name == "alpaca" else EIGHT)
        assert "classification" in render(pack, "instruction", {"demonstrations": shown})

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"settings": {"instruction.warmth": 1}}, "instruction.warmth: extra inputs"),
            ({"settings": {"instructions.top_p": 1}}, "there is no setting 'instructions.top_p'.*its tables are"),
            ({"settings": {"top_p": 1}}, "there is no setting 'top_p'"),
            ({"settings": {"instruction.top_p": 7}}, r"instruction.top_p: .*\(it is 7\)"),
            ({"human": 0, "machine": 0}, "demonstrations.count"),
            ({"per_request": 90, "human": 60}, "instruction.last_number"),
        ],
    )
    def test_senseless_ones_are_refused_in_one_sentence(
        self, pack: Pack, options: dict[str, object], problem: str
    ) -> None:
        with pytest.raises(UsageError, match=problem):
            with_options(pack, PackOptions.model_validate(options))

    def test_the_output_prompt_shows_instruction_and_input(self, pack: Pack) -> None:
        with_input = render(pack, "output", {"instruction": "Count the words.", "input": "a b\nc"})
        assert with_input.endswith("Instruction: Count the words.\nInput: a b\nc\nReply:")
        assert render(pack, "output", {"instruction": "Sing.", "input": ""}).endswith("Instruction: Sing.\nReply:")
