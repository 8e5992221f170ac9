"""The frozen records that travel between the layers: one sample's way from seed to data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["instruction", "classification", "instance"]
FinishReason = Literal["eos", "stop", "length", "loop", "error"]
"""``loop``: ended by ``SamplingParams.max_repeats``; ``error``: the call failed for good and the text is what came."""
NeighbourKind = Literal["seed", "candidate", "sample"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One input/output pair of a task; ``input`` is empty where the instruction needs none."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A human-written task in Self-Instruct's shape. ``task_id`` is the file's ``id`` field."""

    task_id: str
    name: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """An instruction that can be shown as a demonstration, and where it came from."""

    kind: Literal["seed", "candidate"]
    id: int
    instruction: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a completion is drawn. ``temperature`` 0 is greedy; ``stop`` strings end it and are not part of the text.

    ``max_repeats`` ends a completion whose tail is one phrase said that often in a row (``core.looping``); 0: never.
    ``once`` ends it where an item's field begins a second time: the first string begins the field, each of the others
    another item. What follows a second output is of no use. Backends that stream from a server may leave both out.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    max_repeats: int = 0
    once: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One model call: the whole rendered prompt, how to sample, and its own seed.

    With ``choices`` (for example ``(" Yes", " No")``) the backend also returns the log-probability of the first
    token of each choice as the first generated token.
    """

    prompt: str
    params: SamplingParams
    seed: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a backend answered: ``text`` without the prompt and without the stop string; counts are in tokens.

    ``stopped_by`` is the stop string that ended it, where the backend knows.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    choice_logprobs: tuple[float, ...] | None = None
    stopped_by: str | None = None
    cost: float | None = None
    """Money, broken tries included; None: no prices are known."""
    tokens_estimated: bool = False
    """The server did not count: the numbers of tokens are guesses."""
    error: str | None = None
    """Why it failed, in one sentence, with ``finish_reason`` "error"."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The nearest already-known text: which row it is, and its wording."""

    kind: NeighbourKind
    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's decision on one text. ``score`` and ``threshold`` are None for rules that only say yes or no."""

    rule: str
    passed: bool
    score: float | None = None
    threshold: float | None = None
    neighbour: Neighbour | None = None
    detail: str = ""
    parameters: str = ""
    """The rule's parameters that are not the shipped ones, as a JSON object; empty where all are."""


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """An input/output pair as it was read from a completion, in order of appearance (``position`` from 0)."""

    position: int
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class ParsedList:
    """What parsing a completion gave: the items, and a reason where nothing (or not all) could be read."""

    items: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedInstances:
    """The instances read from a completion, and a reason where nothing (or not all) could be read."""

    instances: tuple[ParsedInstance, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """A whole task as it was read from a completion, in order of appearance (``position`` from 0)."""

    position: int
    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class ParsedTasks:
    """The tasks read from a completion, and a reason where nothing (or not all) could be read."""

    tasks: tuple[ParsedTask, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedOutput:
    """The one output that a completion holds; None, with the reason, where it holds none."""

    output: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One supervised example: the model sees ``prompt`` and learns ``response``."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Funnel:
    """Counts from response to accepted sample, with the number rejected by each rule, first failing rule only."""

    completions: int = 0
    unparsed: int = 0
    candidates: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    samples: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    accepted: int = 0
    declined: int = 0
