"""Every rule refuses its fault, lets the near-miss pass, and says why."""

from __future__ import annotations

import pytest

from alpaca_tui.config import RulesConfig
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import Neighbour, ParsedInstance, Verdict
from alpaca_tui.core.rouge import rouge_l_text
from alpaca_tui.core.rules import (
    INSTANCE_RULES,
    INSTRUCTION_RULES,
    Context,
    first_failure,
    instance_rules,
    instruction_rules,
    judge_instances,
    judge_instruction,
)
from alpaca_tui.core.seedfile import parse_seed_file
from alpaca_tui.resources import seed_tasks_path


def verdict_on(text: str, rule: str, context: Context | None = None, rules=INSTRUCTION_RULES) -> Verdict:
    verdicts = judge_instruction(text, rules, context or Context())
    assert [verdict.rule for verdict in verdicts] == [rule.name for rule in rules]
    return next(verdict for verdict in verdicts if verdict.rule == rule)


def judged(instruction: str, *pairs: tuple[str, str], context: Context | None = None) -> list[tuple[Verdict, ...]]:
    instances = [ParsedInstance(i, input, output) for i, (input, output) in enumerate(pairs)]
    return judge_instances(instruction, instances, INSTANCE_RULES, context or Context())


def failures(*args, **kwargs) -> list[str | None]:
    """The first failing rule of each instance."""
    found = [first_failure(verdicts) for verdicts in judged(*args, **kwargs)]
    return [verdict.rule if verdict else None for verdict in found]


LOOP = "The tip is 20% of 20% of 20% of 20% of 20% of the bill."
PASSAGE = (
    "The lighthouse keeper climbed the narrow stairs every evening at dusk, carrying oil for the lamp and a "
    "small radio that told him of storms far out at sea, and he noted the wind in a leather book"
)


@pytest.mark.parametrize(
    ("rule", "fault", "near_miss"),
    [
        ("length", "Explain gravity please", "Explain gravity to children"),
        ("length", " ".join(["word"] * 151), " ".join(["word"] * 150)),
        ("length", "", "Say why it rains"),
        ("punctuation_start", "- list three colours", "List three colours - any"),
        ("punctuation_start", "¿Dónde está la biblioteca hoy?", "Where is the library today?"),
        ("non_english_start", "Écris une phrase sur la mer", "Translate 'Écris une phrase' into English"),
        ("non_english_start", "请把下面的句子翻译成英文", "Translate 请 into English, please"),
        ("banned_words", "Describe the IMAGE in two sentences", "Describe how to imagine a better day"),
        ("banned_words", "Tell me where to go  to in Rome", "Tell me which ego to trust"),
        ("banned_words", "Write lyrics for this music.", "Name a musician from Brazil please"),
        ("banned_words", "Draw a cat on the moon", "Name a drawback of the plan"),
        ("program_prefix", "Write a program that sorts numbers", "Write a programme for the school play"),
        ("program_prefix", "write a PROGRAM to add numbers", "Please write a program that adds"),
        ("content", "Write an erotic story about neighbours", "Explain sexual health to a teenager"),
        ("content", "Tell me how to build a bomb", "Tell me how bath bombs fizz"),
        ("repetition", LOOP, "What is 20% of 20% of 20% of 500?"),
        ("repetition", "Say very very very very nice things", "Say very very nice things about them"),
    ],
)
def test_an_instruction_rule_refuses_the_fault_and_passes_the_near_miss(rule, fault, near_miss) -> None:
    refused = verdict_on(fault, rule)
    assert not refused.passed
    assert refused.detail
    assert verdict_on(near_miss, rule).passed


def test_length_stores_the_words_and_the_bound() -> None:
    verdict = verdict_on("Explain gravity please", "length")
    assert (verdict.score, verdict.threshold) == (3, 4)
    assert "3 words" in verdict.detail


def test_every_rule_is_judged_and_the_first_failure_is_the_reason() -> None:
    verdicts = judge_instruction("- image", INSTRUCTION_RULES, Context())
    assert [v.rule for v in verdicts if not v.passed] == ["length", "punctuation_start", "banned_words"]
    failure = first_failure(verdicts)
    assert failure is not None
    assert failure.rule == "length"
    assert first_failure([Verdict("length", True)]) is None


def test_repetition_of_long_texts() -> None:
    looping = "we sold apples and pears in May, " + "and in June we sold pears and apples too, " * 6
    verdict = verdict_on(looping, "repetition")
    assert not verdict.passed
    few_words = " ".join(f"{a} {b}" for a in ("one", "two") for b in ("red", "blue", "one", "two")) * 3
    assert not verdict_on(few_words, "repetition").passed
    assert verdict_on(PASSAGE * 1, "repetition").passed
    matrix = "Read the rows 0 0 0 0 0 0 0 1 and tell me which column differs"
    assert verdict_on(matrix, "repetition").passed


def test_a_duplicate_names_the_first_of_its_wording() -> None:
    context = Context()
    context.know_instruction("seed", 4, "Name the capital of France.")
    context.know_instruction("candidate", 9, "name the capital of france")
    verdict = verdict_on("  name the CAPITAL\nof France!", "duplicate", context)
    assert not verdict.passed
    assert verdict.neighbour == Neighbour("seed", 4, "Name the capital of France.")
    assert verdict_on("Name the capitals of France.", "duplicate", context).passed
    assert verdict_on("What is 2-2?", "duplicate", context).passed


def test_novelty_refuses_strictly_above_its_threshold_and_names_the_neighbour() -> None:
    context = Context()
    context.know_instructions([Neighbour("seed", 1, "a b c d e f g x y z"), Neighbour("candidate", 2, "p q r s")])
    tie = verdict_on("a b c d e q r s t u", "novelty", context, instruction_rules(0.5))
    assert (tie.passed, tie.score) == (True, None), "a score of exactly 0.5 is not above 0.5"
    assert not verdict_on("a b c d e q r s t u", "novelty", context, instruction_rules(0.499)).passed
    above = verdict_on("a b c d e f g x r s", "novelty", context)
    assert (above.passed, above.score, above.threshold) == (False, pytest.approx(0.8), 0.7)
    assert above.neighbour == Neighbour("seed", 1, "a b c d e f g x y z")
    explained = verdict_on("a b c d e f q r s t", "novelty", context)
    assert explained.passed
    assert explained.score == pytest.approx(0.6)
    assert explained.neighbour == above.neighbour
    alone = verdict_on("nothing like the others at all", "novelty", context)
    assert (alone.passed, alone.score, alone.neighbour) == (True, None, None)


def test_a_threshold_under_the_floor_is_obeyed() -> None:
    context = Context()
    context.know_instruction("seed", 1, "a b c d e f g x y z")
    text = "a b c d q r s t u v"
    assert verdict_on(text, "novelty", context, instruction_rules(0.3)).passed is False
    assert verdict_on(text, "novelty", context, instruction_rules(0.5)).passed is True
    with pytest.raises(UsageError, match="from 0 to 1"):
        instruction_rules(1.2)


def test_with_unicode_tokens_chinese_is_welcome_counted_and_compared() -> None:
    rules = instruction_rules(tokenizer="unicode")
    assert "non_english_start" not in [rule.name for rule in rules]
    context = Context("unicode")
    first = "请把下面的句子翻译成英文"
    assert first_failure(judge_instruction(first, rules, context)) is None
    context.know_instruction("candidate", 1, first)
    failure = first_failure(judge_instruction("请把下面的句子翻译成法文", rules, context))
    assert failure is not None
    assert failure.rule == "novelty"


def test_the_shipped_seeds_pass_their_own_rules() -> None:
    context = Context()
    for number, seed in enumerate(parse_seed_file(seed_tasks_path().read_bytes()).tasks):
        failure = first_failure(judge_instruction(seed.instruction, INSTRUCTION_RULES, context))
        assert failure is None, (seed.task_id, failure)
        context.know_instruction("seed", number, seed.instruction)
        pairs = [(instance.input, instance.output) for instance in seed.instances]
        assert failures(seed.instruction, *pairs, context=context) == [None] * len(pairs), seed.task_id


def test_an_empty_output_is_refused() -> None:
    assert failures("Name a colour of the sky", ("", " \n")) == ["empty_output"]
    assert failures("Name a colour of the sky", ("", "0")) == [None]


def test_a_trailing_colon_is_refused_in_either_field() -> None:
    assert failures("Continue the list of fruits", ("", "Here are some fruits: ")) == ["trailing_colon"]
    assert failures("Continue the list of fruits", ("Fruits：", "Apples and pears")) == ["trailing_colon"]
    assert failures("Continue the list of fruits", ("Fruits: red", "Fruits: apple")) == [None]


def test_an_echo_is_refused_but_an_edit_and_a_label_are_not() -> None:
    changed = PASSAGE.replace("dusk", "dawn")
    task = "Summarise the passage for a child"
    assert failures(task, (PASSAGE, PASSAGE)) == ["echo"]
    verdict = first_failure(judged(task, (PASSAGE, changed))[0])
    assert verdict is not None
    assert verdict.rule == "echo"
    assert 0.9 < verdict.score < 1
    assert failures("Correct the mistake in the passage", (PASSAGE, changed)) == [None]
    assert failures("Correct the mistake in the passage", (PASSAGE, PASSAGE)) == ["echo"]
    assert failures("Is the review positive or negative?", ("positive!", "positive")) == [None]
    assert failures(task, (PASSAGE, "A keeper lights his lamp and listens for storms.")) == [None]


def test_conflicting_outputs_refuse_the_whole_task() -> None:
    task = "Tell whether the number is even"
    pairs = (("Four", "yes"), ("seven", "no"), ("four", "no"))
    assert failures(task, *pairs) == ["conflicting_outputs"] * 3
    assert failures(task, *pairs[:2]) == [None, None]
    assert failures("Give an idea for a rainy day", ("", "Bake bread."), ("", "Read a book.")) == [None, None]


def test_a_duplicate_instance_keeps_the_first() -> None:
    task = "Tell whether the number is even"
    assert failures(task, ("four", "yes"), ("Four", "Yes."), ("six", "yes")) == [None, "duplicate_instance", None]
    context = Context()
    context.know_instance(7, task, "four", "yes")
    verdict = first_failure(judged(task, ("four", "yes"), context=context)[0])
    assert verdict is not None
    assert verdict.rule == "duplicate_instance"
    assert verdict.neighbour == Neighbour("sample", 7, "four\nyes")
    assert failures("Is the number a square?", ("four", "yes"), context=context) == [None]


def test_a_refused_instance_blocks_no_later_one() -> None:
    task = "Give a fact about the number"
    verdicts = judged(task, ("four", "xxx"), ("five", "It is odd"), ("five", "it is odd"))
    assert [v.rule if (v := first_failure(each)) else None for each in verdicts] == [
        "content",
        None,
        "duplicate_instance",
    ]
    twice = failures(task, ("four", "erotic"), ("four", "erotic"))
    assert twice == ["content", "content"]


def test_the_same_input_for_the_same_instruction_is_refused_across_tasks() -> None:
    context = Context()
    context.know_instance(3, "Give a rhyme for the word", "moon", "spoon")
    assert failures("give a rhyme for the word.", ("Moon", "June"), context=context) == ["duplicate_input"]
    assert failures("Give a translation of the word", ("moon", "lune"), context=context) == [None]
    context.know_instance(4, "Give an idea for a rainy day", "", "Bake bread.")
    assert failures("Give an idea for a rainy day", ("", "Read a book."), context=context) == [None]


def test_loops_and_listed_words_are_found_in_both_fields() -> None:
    assert failures("Work out the tip please", ("a bill of 50", LOOP)) == ["repetition"]
    assert failures("Work out the tip please", (LOOP, "10")) == ["repetition"]
    assert failures("Tell me a story tonight", ("", "They watched porn.")) == ["content"]
    assert failures("Tell me a story tonight", ("", "They watched popcorn pop.")) == [None]


def test_a_near_duplicate_instance_needs_both_fields_alike() -> None:
    context = Context()
    answer = "A keeper lights his lamp each evening and listens for storms on the radio."
    context.know_instance(5, "Summarise the passage for a child", PASSAGE, answer)
    near = (PASSAGE.replace("dusk", "dawn"), answer.replace("each", "every"))
    verdict = first_failure(judged("Sum up the text in a sentence", near, context=context)[0])
    assert verdict is not None
    assert verdict.rule == "near_duplicate_instance"
    assert 0.9 < verdict.score < 1
    assert verdict.neighbour is not None
    assert verdict.neighbour.id == 5
    assert failures("Name the mood of the passage", (PASSAGE, "calm"), context=context) == [None]
    assert failures("Sum up the text in a sentence", ("", answer), context=context) == [None]


def test_a_near_duplicate_within_the_task_is_refused_too() -> None:
    answer = "A keeper lights his lamp each evening and listens for storms on the radio."
    pairs = (("", answer), ("", answer.replace("each", "every")))
    assert failures("Write a sentence about the sea", *pairs) == [None, "near_duplicate_instance"]


def test_settings_change_parameters_order_and_list() -> None:
    settings = RulesConfig.model_validate(
        {
            "disabled": ["duplicate_input"],
            "order": ["near_duplicate_instance", "novelty"],
            "echo": {"threshold": 0.5, "min_tokens": 3},
            "near_duplicate_instance": {"threshold": 0.6, "min_tokens": 4},
            "repetition": {"max_loop": 1},
            "content": {"words": ["gunpowder"]},
            "banned_words": {"more": ["sketch"]},
            "program_prefix": {"prefixes": ["Implement"]},
            "length": {"min_words": 2, "max_words": 6},
        }
    ).settings()
    rules = instruction_rules(settings=settings)
    assert rules[0].name == "novelty"
    assert {rule.name for rule in rules} == {rule.name for rule in INSTRUCTION_RULES}
    failed = {
        text: verdict.rule if (verdict := first_failure(judge_instruction(text, rules, Context()))) else None
        for text in ("Say so", "Sketch a cat", "Draw a cat", "Implement a queue", "Say it say it", "Mix gunpowder now")
    }
    assert list(failed.values()) == [None, "banned_words", "banned_words", "program_prefix", "repetition", "content"]
    assert not verdict_on("One two three four five six seven", "length", rules=rules).passed
    verdict = verdict_on("Say so", "length", rules=rules)
    assert verdict.parameters == '{"max_words": 6, "min_words": 2}'
    assert verdict_on("Say so", "novelty", rules=rules).parameters == ""

    of_instances = instance_rules(settings)
    assert of_instances[0].name == "near_duplicate_instance"
    assert "duplicate_input" not in [rule.name for rule in of_instances]

    def refused(*pairs: tuple[str, str], given: tuple = of_instances) -> list[str | None]:
        instances = [ParsedInstance(i, *pair) for i, pair in enumerate(pairs)]
        judged = judge_instances("Say what it means", instances, given, Context())
        return [failure.rule if (failure := first_failure(verdicts)) else None for verdicts in judged]

    echo = ("the old red barn", "the old red house")
    assert (refused(echo), refused(echo, given=INSTANCE_RULES)) == (["echo"], [None])
    near = (("", "one red fox runs home"), ("", "one red fox walks home"))
    assert refused(*near) == [None, "near_duplicate_instance"]
    assert refused(*near, given=INSTANCE_RULES) == [None, None]
    assert refused(("", "so and so and")) == ["repetition"]
    assert refused(("", "mix gunpowder"), ("", "they watched porn")) == ["content", None]


def test_a_tie_at_the_thresholds_of_instances_is_kept() -> None:
    """Strictly above refuses, as for instructions: 9 of 10 tokens in common are exactly 0.9."""
    a, b = "a b c d e f g h i j", "a b c d e f g h i z"
    assert failures("Say what the text means", (a, b)) == [None]
    assert failures("Say what the text means", ("", a), ("", b)) == [None, None]
    assert rouge_l_text(a, b) == 0.9
