"""How good a file of seed tasks is: figures to read, and findings to look at.

Self-Instruct stands on its seeds (arXiv 2212.10560, section 2.2): what they lack, the model will hardly invent, and
what they repeat, it will repeat. Nothing here keeps a file from being used, save what ``seedfile`` calls an error.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.jsonrecords import Problem
from alpaca_tui.core.novelty import NoveltyIndex
from alpaca_tui.core.records import SeedTask
from alpaca_tui.core.rouge import TokenizerName, tokenize
from alpaca_tui.core.rule_text import BANNED_WORDS, count_words, find_listed, normalise
from alpaca_tui.core.seedfile import Reference, SeedFile
from alpaca_tui.core.verbs import RootVerb, root_verb

PAIR_THRESHOLD = 0.7
"""ROUGE-L over which two seeds say the same (Self-Instruct's bound for new instructions)."""
AGAINST_THRESHOLD = 0.6
"""ROUGE-L over which a seed stands in another file already; stricter, for what must be a file's own or held out."""
MIN_WORDS, MAX_WORDS = 4, 150
"""Words of an instruction that Self-Instruct's filter lets pass."""

_TEXT_FORMAT = {"\u200c", "\u200d"}  # joiners: part of Persian, Hindi and emoji
_NOT_PRINTABLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two instructions and their ROUGE-L; ``other`` is a seed of the file, or one of the second file."""

    id: str
    other: str
    score: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words (between white space) of one field over the texts that are not empty; all 0 where there is none."""

    texts: int
    shortest: int
    median: float
    mean: float
    longest: int


@dataclass(frozen=True, slots=True)
class SeedCheck:
    """What ``check_seeds`` found."""

    count: int
    classification: int
    with_input: int
    instances: int
    root_verbs: dict[str, int]
    """How many tasks each root verb heads, most frequent first."""
    root_objects: dict[str, int]
    """The same for "verb object" where there is an object."""
    without_verb: tuple[str, ...]
    """The ids of the tasks in which no root verb was found."""
    lengths: dict[str, Lengths]
    """By field: instruction, input, output."""
    threshold: float
    pairs_over_threshold: tuple[Pair, ...]
    against: int
    """How many instructions of a second file were compared with; 0 where none was given."""
    against_threshold: float
    overlap: tuple[Pair, ...]
    """Each seed's nearest instruction of the second file, where it is over the threshold."""
    nearest: Pair | None
    """The highest overlap with the second file, over the threshold or not; None without one."""
    problems: tuple[Problem, ...]
    """The file's errors and every finding, by line."""

    def as_json(self) -> dict[str, Any]:
        """The object that ``seeds check --json`` prints."""
        value: dict[str, Any] = {
            "count": self.count,
            "classification": self.classification,
            "with_input": self.with_input,
            "verbs": len(self.root_verbs),
            "pairs_over_threshold": [[p.id, p.other, p.score] for p in self.pairs_over_threshold],
            "problems": [
                {"line": p.line, "id": p.id, "rule": p.rule, "detail": p.detail, "severity": p.severity}
                for p in self.problems
            ],
            "instances": self.instances,
            "threshold": self.threshold,
            "lengths": {
                field: {"texts": n.texts, "min": n.shortest, "median": n.median, "mean": n.mean, "max": n.longest}
                for field, n in self.lengths.items()
            },
            "root_verbs": self.root_verbs,
            "root_objects": self.root_objects,
            "without_verb": list(self.without_verb),
            "against": None,
        }
        if self.against:
            value["against"] = {
                "count": self.against,
                "threshold": self.against_threshold,
                "over_threshold": [[p.id, p.other, p.score] for p in self.overlap],
                "nearest": [self.nearest.id, self.nearest.other, self.nearest.score] if self.nearest else None,
            }
        return value


@dataclass(frozen=True, slots=True)
class _Placed:
    line: int
    task: SeedTask

    def finding(self, rule: str, detail: str) -> Problem:
        return Problem(self.line, self.task.task_id, rule, detail, "finding")


def check_seeds(
    file: SeedFile,
    against: Sequence[Reference] = (),
    *,
    threshold: float = PAIR_THRESHOLD,
    against_threshold: float = AGAINST_THRESHOLD,
    tokenizer: TokenizerName = "rouge",
) -> SeedCheck:
    """Measure the sound tasks of ``file``, and its overlap with the instructions of a second one.

    ROUGE-L is exact, with rouge-score's tokenizer or, for other scripts than Latin, the ``unicode`` one. Raises
    UsageError for a threshold outside 0 to 1 or an unknown tokenizer.
    """
    for value in (threshold, against_threshold):
        if not 0 <= value <= 1:
            raise UsageError(f"a ROUGE-L threshold lies between 0 and 1, not at {value:g}")
    placed = [_Placed(line, task) for line, task in zip(file.lines, file.tasks, strict=True)]
    pairs = _pairs(placed, threshold, tokenizer)
    nearest = _nearest(placed, against, tokenizer)
    overlap = tuple(pair for pair in nearest if pair.score > against_threshold)
    found = [problem for rule in _RULES for item in placed for problem in rule(item)]
    found += [*_repeated_inputs(placed), *_unmeasurable(placed, tokenizer)]
    found += [*_pair_findings(placed, pairs, threshold), *_overlap_findings(placed, overlap, against_threshold)]
    verbs = [(item.task.task_id, root_verb(item.task.instruction)) for item in placed]
    return SeedCheck(
        count=len(placed),
        classification=sum(item.task.is_classification for item in placed),
        with_input=sum(any(i.input.strip() for i in item.task.instances) for item in placed),
        instances=sum(len(item.task.instances) for item in placed),
        root_verbs=_counted(verb.verb for _, verb in verbs if verb),
        root_objects=_counted(_verb_and_object(verb) for _, verb in verbs if verb and verb.object),
        without_verb=tuple(task_id for task_id, verb in verbs if verb is None),
        lengths=_lengths(placed),
        threshold=threshold,
        pairs_over_threshold=pairs,
        against=len(against),
        against_threshold=against_threshold,
        overlap=overlap,
        nearest=max(nearest, key=lambda pair: pair.score, default=None),
        problems=tuple(sorted([*file.problems, *found], key=lambda p: p.line)),
    )


def _counted(items: Iterable[str]) -> dict[str, int]:
    return dict(Counter(items).most_common())


def _verb_and_object(verb: RootVerb) -> str:
    return f"{verb.verb} {verb.object}"


def _lengths(placed: Sequence[_Placed]) -> dict[str, Lengths]:
    instances = [i for item in placed for i in item.task.instances]
    texts = {
        "instruction": [item.task.instruction for item in placed],
        "input": [i.input for i in instances],
        "output": [i.output for i in instances],
    }
    return {field: _length([len(t.split()) for t in found if t.strip()]) for field, found in texts.items()}


def _length(words: Sequence[int]) -> Lengths:
    if not words:
        return Lengths(0, 0, 0, 0, 0)
    median, mean = statistics.median(words), round(statistics.fmean(words), 1)
    return Lengths(len(words), min(words), float(median), mean, max(words))


# Likeness ------------------------------------------------------------------------------------------------------


def _pairs(placed: Sequence[_Placed], threshold: float, tokenizer: TokenizerName) -> tuple[Pair, ...]:
    index = NoveltyIndex(tokenizer)
    found: list[Pair] = []
    for item in placed:
        text = item.task.instruction
        near = index.neighbours(text, threshold)
        found += [Pair(str(m.key), item.task.task_id, m.score) for m in near if m.score > threshold]
        index.add(item.task.task_id, text)
    return tuple(sorted(found, key=lambda pair: -pair.score))


def _nearest(placed: Sequence[_Placed], against: Sequence[Reference], tokenizer: TokenizerName) -> list[Pair]:
    """Each task's nearest instruction of the second file, as far as they share a token at all."""
    index = NoveltyIndex(tokenizer)
    index.extend((reference.id, reference.instruction) for reference in against)
    found = ((item.task.task_id, index.nearest(item.task.instruction, 0.0)) for item in placed)
    return [Pair(task_id, str(match.key), match.score) for task_id, match in found if match]


def _pair_findings(placed: Sequence[_Placed], pairs: Sequence[Pair], threshold: float) -> list[Problem]:
    by_id = {item.task.task_id: item for item in placed}
    return [
        by_id[p.other].finding("near-duplicate", f"ROUGE-L {p.score:.2f} with {p.id}, over {threshold:g}")
        for p in pairs
    ]


def _overlap_findings(placed: Sequence[_Placed], overlap: Sequence[Pair], threshold: float) -> list[Problem]:
    by_id = {item.task.task_id: item for item in placed}
    return [
        by_id[p.id].finding("overlap", f"ROUGE-L {p.score:.2f} with {p.other} of the second file, over {threshold:g}")
        for p in overlap
    ]


def _unmeasurable(placed: Sequence[_Placed], tokenizer: TokenizerName) -> list[Problem]:
    return [
        item.finding("unmeasurable", f"the {tokenizer} tokenizer finds no word in it, so its likeness is unknown")
        for item in placed
        if not tokenize(item.task.instruction, tokenizer)
    ]


def _repeated_inputs(placed: Sequence[_Placed]) -> list[Problem]:
    """Inputs (but for case and spacing) that stood before; an input with two outputs says so."""
    first: dict[str, _Placed] = {}
    outputs: dict[tuple[str, str], set[str]] = defaultdict(set)
    found: list[Problem] = []
    for item in placed:
        for instance in item.task.instances:
            key = normalise(instance.input)
            if not key:
                continue
            outputs[item.task.task_id, key].add(normalise(instance.output))
            if key in first:
                here = first[key].task.task_id == item.task.task_id
                where = "of this task" if here else f"of {first[key].task.task_id}"
                found.append(item.finding("duplicate-input", f"the same input as another {where}"))
            first.setdefault(key, item)
    by_id = {item.task.task_id: item for item in placed}
    found += [
        by_id[task_id].finding("contradictory-outputs", f"one input has {len(different)} different outputs")
        for (task_id, _), different in outputs.items()
        if len(different) > 1
    ]
    return found


# One task at a time ----------------------------------------------------------------------------------------------


def _length_finding(item: _Placed) -> list[Problem]:
    words = count_words(item.task.instruction, "rouge")
    if MIN_WORDS <= words <= MAX_WORDS or not tokenize(item.task.instruction):
        return []
    detail = f"the instruction has {words} words; the filter lets {MIN_WORDS} to {MAX_WORDS} pass"
    return [item.finding("length", detail)]


def _banned_words(item: _Placed) -> list[Problem]:
    word = find_listed(item.task.instruction, BANNED_WORDS)
    detail = f"the instruction says {word!r}, which the filter refuses: a text model can neither see nor make it"
    return [item.finding("banned-words", detail)] if word else []


def _outputs(item: _Placed) -> list[Problem]:
    found = []
    for n, instance in enumerate(item.task.instances, start=1):
        if not instance.output.strip():
            found.append(item.finding("empty-output", f"instance {n} has no output"))
        elif normalise(instance.output) == normalise(instance.input):
            found.append(item.finding("output-is-input", f"the output of instance {n} repeats its input"))
    return found


def _labels(item: _Placed) -> list[Problem]:
    """Classification only: each label should stand in the instruction, and none should outweigh the others.

    Balance is judged from two instances on: unbalanced are labels whose counts differ by more than one, and a
    single label given every time.
    """
    if not item.task.is_classification:
        return []
    labels = Counter(normalise(i.output) for i in item.task.instances if i.output.strip())
    found = [
        item.finding("label-not-stated", f"the label {label!r} does not stand in the instruction")
        for label in labels
        if not re.search(rf"(?<!\w){re.escape(label)}(?!\w)", normalise(item.task.instruction))
    ]
    counts = labels.values()
    if sum(counts) > 1 and (len(labels) == 1 or max(counts) - min(counts) > 1):
        shares = ", ".join(f"{label!r} {n}" for label, n in labels.most_common())
        found.append(item.finding("unbalanced-labels", f"the instances are not balanced: {shares}"))
    return found


def _not_printable(item: _Placed) -> list[Problem]:
    task = item.task
    fields = [("id", task.task_id), ("name", task.name), ("instruction", task.instruction)]
    for n, instance in enumerate(task.instances, start=1):
        fields += [(f"input of instance {n}", instance.input), (f"output of instance {n}", instance.output)]
    found = []
    for field, text in fields:
        characters = dict.fromkeys(c for c in text if not _prints(c))
        if characters:
            names = ", ".join(f"U+{ord(c):04X}" for c in characters)
            found.append(item.finding("not-printable", f"the {field} holds {names}"))
    return found


def _prints(character: str) -> bool:
    if character in "\n\t" or character in _TEXT_FORMAT:
        return True
    return character != "\ufffd" and unicodedata.category(character) not in _NOT_PRINTABLE


_RULES: tuple[Callable[[_Placed], list[Problem]], ...] = (
    _length_finding,
    _banned_words,
    _outputs,
    _labels,
    _not_printable,
)
