"""The filter's rules for instances: the input/output pairs of one task.

"Self-Instruct" is Wang et al. 2022 (arXiv 2212.10560, section 2.2) with its published code; "ours" is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from alpaca_tui.core.instruction_rules import Content, Repetition
from alpaca_tui.core.novelty import NoveltyIndex
from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.core.rouge import rouge_l, rouge_l_text, tokenize
from alpaca_tui.core.rule_context import Context, KnownInstance
from alpaca_tui.core.rule_settings import SHIPPED, RuleSettings
from alpaca_tui.core.rule_text import CONTENT_WORDS, normalise, starts_with_any

NEEDS_OUTPUT = frozenset({"empty_output", "echo", "conflicting_outputs"})
"""The rules that can't judge a draft: an instance whose output another model is to write."""

EDITING_STEMS = (
    *("correct", "fix", "edit", "proofread", "grammar", "spell", "typo", "punctuat", "capital", "uppercase"),
    *("lowercase", "format", "reformat", "indent", "sort", "order", "reorder", "reverse", "arrange", "rearrange"),
    *("replace", "remove", "delete", "insert", "add", "fill", "complete", "convert", "change", "chang", "rewrit"),
    *("rewrite", "rephras", "paraphras", "translat", "repeat", "copy", "quote", "clean", "debug", "refactor"),
    *("harden", "improve", "polish", "mask", "redact", "anonymi", "normali", "mark", "highlight", "tag"),
)
"""Beginnings of words that ask for an output close to its input."""


@dataclass(frozen=True, slots=True)
class Task:
    """What an instance is judged with: its instruction, all instances read with it, and those of them kept so far."""

    instruction: str
    instances: tuple[ParsedInstance, ...]
    kept: tuple[ParsedInstance, ...]
    context: Context


class InstanceRule(Protocol):
    """One reason to refuse an instance."""

    @property
    def name(self) -> str:
        """The rule's name in verdicts, funnels and ``config.toml``."""

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """The verdict on one instance of ``task``."""


@dataclass(frozen=True, slots=True)
class EmptyOutput:
    """Nothing was answered. Source: Self-Instruct."""

    name: str = "empty_output"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Yes or no."""
        return Verdict(self.name, bool(instance.output.strip()))


@dataclass(frozen=True, slots=True)
class TrailingColon:
    """Input or output ends in a colon: it was cut off. Source: Self-Instruct."""

    name: str = "trailing_colon"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Names the field."""
        for field_name, text in (("input", instance.input), ("output", instance.output)):
            if text.rstrip().endswith((":", "：")):
                return Verdict(self.name, False, detail=f"the {field_name} ends in a colon")
        return Verdict(self.name, True)


@dataclass(frozen=True, slots=True)
class Echo:
    """The output is the input again. Source: Self-Instruct for the same text; ROUGE-L above ``threshold`` is ours.

    The score decides only from ``min_tokens`` tokens on (two labels are alike by nature) and not where the
    instruction asks for an edit: a sentence with one spelling mended scores above 0.9 and is right.
    """

    threshold: float = 0.9
    min_tokens: int = 8
    editing_stems: tuple[str, ...] = EDITING_STEMS
    name: str = "echo"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """``score`` is ROUGE-L of output with input; None where there is no input."""
        if not instance.input.strip():
            return Verdict(self.name, True)
        if instance.input.split() == instance.output.split():
            return Verdict(self.name, False, 1.0, self.threshold, detail="the output is the input")
        tokenizer = task.context.tokenizer
        a, b = tokenize(instance.input, tokenizer), tokenize(instance.output, tokenizer)
        score = rouge_l(a, b)
        if score <= self.threshold or min(len(a), len(b)) < self.min_tokens:
            return Verdict(self.name, True, score, self.threshold)
        edit = starts_with_any(task.instruction, self.editing_stems)
        detail = f"allowed, for the instruction says {edit!r}" if edit else ""
        return Verdict(self.name, edit is not None, score, self.threshold, detail=detail)


@dataclass(frozen=True, slots=True)
class ConflictingOutputs:
    """Two instances of the task answer one input differently: none of the task's is kept. Source: Self-Instruct."""

    name: str = "conflicting_outputs"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Names the two positions."""
        first: dict[str, ParsedInstance] = {}
        for other in task.instances:
            key = normalise(other.input)
            before = first.setdefault(key, other)
            if key and normalise(before.output) != normalise(other.output):
                detail = f"instances {before.position + 1} and {other.position + 1} answer the same input differently"
                return Verdict(self.name, False, detail=detail)
        return Verdict(self.name, True)


@dataclass(frozen=True, slots=True)
class DuplicateInstance:
    """Instruction, input and output were all there before. Source: Self-Instruct."""

    name: str = "duplicate_instance"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Names the earlier sample, or the position within the task."""
        key = (normalise(instance.input), normalise(instance.output))
        for other in task.kept:
            if (normalise(other.input), normalise(other.output)) == key:
                return Verdict(self.name, False, detail=f"the same as instance {other.position + 1} of the task")
        known = task.context.same_instance(task.instruction, instance.input, instance.output)
        return Verdict(self.name, known is None, neighbour=known)


@dataclass(frozen=True, slots=True)
class DuplicateInput:
    """The same instruction had this input before, in another task. Source: ours, after Self-Instruct's within a task.

    Other instructions may share an input: summing up a text and naming its mood are two samples.
    """

    name: str = "duplicate_input"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Names the earlier sample. An empty input is no duplicate."""
        known = task.context.same_input(task.instruction, instance.input) if instance.input.strip() else None
        return Verdict(self.name, known is None, neighbour=known)


@dataclass(frozen=True, slots=True)
class InstanceRepetition:
    """Input or output goes round in circles. Source: ours; see ``Repetition``."""

    measure: Repetition = field(default_factory=Repetition)
    name: str = "repetition"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """The output's verdict, or the input's where only that fails."""
        verdict = self.measure.judge(instance.output, None)
        of_input = self.measure.judge(instance.input, None)
        return of_input if verdict.passed and not of_input.passed else verdict


@dataclass(frozen=True, slots=True)
class InstanceContent:
    """Input or output contains a listed word. Source: ours; see CONTENT_WORDS for its limits."""

    words: tuple[str, ...] = CONTENT_WORDS
    name: str = "content"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """Whole words, any case."""
        return Content(self.words).judge(f"{instance.input}\n{instance.output}", None)


@dataclass(frozen=True, slots=True)
class NearDuplicateInstance:
    """Both input and output are nearly those of an earlier sample. Source: ours, after the rule for instructions.

    The score is the lower of the two fields' ROUGE-L, so that one long text under two instructions stays two samples.
    Pairs of fewer than ``min_tokens`` tokens are not judged: short answers are alike by nature.
    """

    threshold: float = 0.9
    min_tokens: int = 10
    name: str = "near_duplicate_instance"

    def judge(self, instance: ParsedInstance, task: Task) -> Verdict:
        """``score`` is the highest score above the threshold, else None."""
        index = task.context.instances
        text = f"{instance.input}\n{instance.output}"
        if len(tokenize(text, index.tokenizer)) < self.min_tokens:
            return Verdict(self.name, True, None, self.threshold)
        for other in task.kept:
            score = self._score(instance, other, index)
            if score > self.threshold:
                detail = f"nearly the same as instance {other.position + 1} of the task"
                return Verdict(self.name, False, score, self.threshold, detail=detail)
        # Two fields that both score above X also do so joined (the mediant of two fractions lies between them),
        # so the index on joined texts misses nothing; the margin is for rounding.
        best: tuple[float, KnownInstance | None] = (self.threshold, None)
        for match in index.neighbours(text, self.threshold - 1e-9):
            if isinstance(match.key, KnownInstance):
                score = self._score(instance, match.key, index)
                if score > best[0]:
                    best = (score, match.key)
        if best[1] is None:
            return Verdict(self.name, True, None, self.threshold)
        return Verdict(self.name, False, best[0], self.threshold, best[1].neighbour)

    @staticmethod
    def _score(instance: ParsedInstance, other: ParsedInstance | KnownInstance, index: NoveltyIndex) -> float:
        of_output = rouge_l_text(instance.output, other.output, index.tokenizer)
        if not instance.input.strip() and not other.input.strip():
            return of_output
        return min(of_output, rouge_l_text(instance.input, other.input, index.tokenizer))


def draft_rules(rules: Sequence[InstanceRule]) -> list[InstanceRule]:
    """Those of the rules that can judge a draft."""
    return [rule for rule in rules if rule.name not in NEEDS_OUTPUT]


def as_draft(instance: ParsedInstance) -> ParsedInstance:
    """What is known of a draft: all but its output."""
    return replace(instance, output="")


def instance_rules(settings: RuleSettings = SHIPPED) -> tuple[InstanceRule, ...]:
    """The rules for instances, in the order in which the first failure is named; ``settings`` can change the list."""
    return settings.arranged(
        (
            EmptyOutput(),
            TrailingColon(),
            Echo(**settings.of("echo")),
            ConflictingOutputs(),
            DuplicateInstance(),
            DuplicateInput(),
            InstanceRepetition(Repetition(**settings.of("repetition"))),
            InstanceContent(**settings.of("content")),
            NearDuplicateInstance(**settings.of("near_duplicate_instance")),
        )
    )


INSTANCE_RULES = instance_rules()
"""The default list."""
