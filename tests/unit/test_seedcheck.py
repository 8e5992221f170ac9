"""What the check of a seed file measures and finds: one planted fault for each rule."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import Instance, SeedTask
from alpaca_tui.core.rouge import rouge_l_text
from alpaca_tui.core.seedcheck import SeedCheck, check_seeds
from alpaca_tui.core.seedfile import Reference, SeedFile, dump_seed_file, parse_seed_file


def task(
    instruction: str, *instances: tuple[str, str], classification: bool = False, name: str = "", task_id: str = ""
) -> SeedTask:
    pairs = tuple(Instance(i, o) for i, o in instances or [("", "An answer.")])
    return SeedTask(task_id, name, instruction, pairs, classification)


def seed_file(*tasks: SeedTask) -> SeedFile:
    named = [SeedTask(f"t{n}", t.name, t.instruction, t.instances, t.is_classification) for n, t in enumerate(tasks, 1)]
    return SeedFile(tuple(named), (), tuple(range(1, len(named) + 1)))


def findings(*tasks: SeedTask) -> list[tuple[int, str, str]]:
    return [(p.line, p.id, p.rule) for p in check_seeds(seed_file(*tasks)).problems]


SOUND = (
    task("Name three European rivers.", ("", "Rhine, Rhône, Danube.")),
    task("Is the number odd or even?", ("3", "odd"), ("8", "even"), classification=True),
    task("Shorten the sentence.\nKeep its meaning.", ("It is the case that it rained.", "It rained.")),
)


def test_figures() -> None:
    result = check_seeds(seed_file(*SOUND, task("Name one deep lake, please.", ("", "Baikal."))))
    assert (result.count, result.classification, result.with_input, result.instances) == (4, 1, 2, 5)
    assert result.root_verbs == {"name": 2, "be": 1, "shorten": 1}
    assert result.root_objects == {"name river": 1, "shorten sentence": 1, "name lake": 1}
    assert result.without_verb == ()
    instruction = result.lengths["instruction"]
    assert (instruction.texts, instruction.shortest, instruction.median, instruction.longest) == (4, 4, 5.5, 6)
    assert (result.lengths["input"].texts, result.lengths["input"].longest) == (3, 7)
    assert result.problems == ()


def test_json_holds_to_the_contract() -> None:
    value = json.loads(json.dumps(check_seeds(seed_file(*SOUND, SOUND[0])).as_json()))
    assert (value["count"], value["classification"], value["with_input"], value["verbs"]) == (4, 1, 2, 3)
    assert value["pairs_over_threshold"] == [["t1", "t4", 1.0]]
    assert value["against"] is None
    problem = value["problems"][0]
    assert {"line", "id", "rule", "detail"} <= problem.keys()
    assert (problem["line"], problem["id"], problem["rule"]) == (4, "t4", "near-duplicate")


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        ("near-duplicate", task("Name three large European rivers.")),
        ("length", task("Name rivers.")),
        ("length", task("Tell " + "a very long tale " * 40)),
        ("banned-words", task("Describe what you hear in this video.")),
        ("empty-output", task("Say nothing at all.", ("", " \n"))),
        ("output-is-input", task("Proofread this note for me.", ("All is well.", "all is  well"))),
        ("duplicate-input", task("Say whether this is prime.", ("3", "It is prime."))),
        ("contradictory-outputs", task("Say whether this is prime.", ("7", "yes"), ("7", "no"))),
        ("label-not-stated", task("Is the animal a mammal?", ("newt", "no"), classification=True)),
        (
            "unbalanced-labels",
            task("Hot or cold?  Say which.", ("ice", "cold"), ("fire", "hot"), ("oil", "hot"), ("sun", "hot"),
                 classification=True),
        ),
        (
            "unbalanced-labels",
            task("Decide if this is hot or cold.", ("sun", "hot"), ("fire", "hot"), classification=True),
        ),
        ("not-printable", task("Say\u200b hello to everybody.")),
        ("not-printable", task("Say hello to everybody.", ("", "\x1b[2JHello"))),
        ("not-printable", task("Say hello to everybody.", name="broken \ufffd")),
        ("unmeasurable", task("请把下面这句话翻译成英文。")),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(rule: str, planted: SeedTask) -> None:
    assert findings(*SOUND) == []
    assert (4, "t4", rule) in findings(*SOUND, planted)


@pytest.mark.parametrize(
    "sound",
    [
        task("Sort by size: O(1), O(n^2) or O(n log n).", ("a loop in a loop", "O(n^2)"), classification=True),
        task("Answer yes or no, nothing else.", ("Is water wet?", "Yes."), classification=True),
        task(
            "Is it red, green or blue?", ("a", "red"), ("b", "green"), ("c", "blue"), ("d", "red"), classification=True
        ),
        task("Explain the emoji in one word.", ("👩‍🌾", "farmer")),
        task("Profile the writer in five words."),
        task("Répondez en français, s’il vous plaît."),
    ],
)
def test_what_is_sound_stays_unmarked(sound: SeedTask) -> None:
    assert findings(*SOUND, sound) == []


def test_the_unicode_tokenizer_sees_what_the_default_cannot() -> None:
    file = seed_file(task("请把下面这句话翻译成英文。"), task("请把上面这句话翻译成英文。"))
    assert check_seeds(file).pairs_over_threshold == ()
    pairs = check_seeds(file, tokenizer="unicode").pairs_over_threshold
    assert [(p.id, p.other) for p in pairs] == [("t1", "t2")]


VOCABULARY = ("name", "the", "red", "green", "blue", "river", "of", "a", "long", "tale")
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=7).map(" ".join)


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=4), st.sampled_from([0.0, 0.5, 0.7, 1.0]))
def test_pairs_and_overlap_are_those_of_a_full_comparison(mine: list[str], theirs: list[str], threshold: float) -> None:
    file = seed_file(*(task(text) for text in mine))
    references = [Reference(n, f"r{n}", text) for n, text in enumerate(theirs, start=1)]
    result = check_seeds(file, references, threshold=threshold, against_threshold=threshold)
    expected = {
        (a.task_id, b.task_id, rouge_l_text(a.instruction, b.instruction))
        for a, b in combinations(file.tasks, 2)
        if rouge_l_text(a.instruction, b.instruction) > threshold
    }
    assert {(p.id, p.other, p.score) for p in result.pairs_over_threshold} == expected
    best = {t.task_id: max((rouge_l_text(t.instruction, r) for r in theirs), default=0.0) for t in file.tasks}
    assert {p.id: p.score for p in result.overlap} == {k: v for k, v in best.items() if v > threshold}
    assert (result.nearest.score if result.nearest else 0.0) == max(best.values(), default=0.0)


def test_overlap_names_the_other_file_s_instruction() -> None:
    references = [Reference(1, "theirs_1", "Write a poem."), Reference(2, "theirs_2", "Name three Asian rivers.")]
    result = check_seeds(seed_file(*SOUND), references)
    assert [(p.id, p.other, p.score) for p in result.overlap] == [("t1", "theirs_2", 0.75)]
    assert [(p.line, p.rule) for p in result.problems] == [(1, "overlap")]
    assert result.as_json()["against"] == {
        "count": 2,
        "threshold": 0.6,
        "over_threshold": [["t1", "theirs_2", 0.75]],
        "nearest": ["t1", "theirs_2", 0.75],
    }


def test_errors_of_the_file_stand_among_the_problems_and_the_rest_is_measured() -> None:
    named = seed_file(*SOUND)
    text = dump_seed_file(named.tasks[:2]) + "{broken\n" + dump_seed_file(named.tasks[2:])
    result: SeedCheck = check_seeds(parse_seed_file(text))
    assert result.count == 3
    assert [(p.line, p.rule, p.severity) for p in result.problems] == [(3, "broken-json", "error")]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_thresholds_lie_between_0_and_1(threshold: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        check_seeds(seed_file(*SOUND), threshold=threshold)


def test_an_empty_file_has_figures_too() -> None:
    result = check_seeds(parse_seed_file(b""))
    assert (result.count, result.lengths["input"].texts, result.nearest) == (0, 0, None)
    assert [p.rule for p in result.problems] == ["empty-file"]
