"""Which tokens of an example the model is taught: the response and the end token, never the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from alpaca_tui.core.errors import RefusedError, UsageError
from alpaca_tui.core.records import TrainingExample

IGNORED = -100
"""The label that torch's cross entropy leaves out of the loss."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as token ids. The first ``prompt_tokens`` ids are context, the rest are supervised.

    ``truncated`` says that the tail, and with it the end token, was cut off.
    """

    input_ids: tuple[int, ...]
    prompt_tokens: int
    truncated: bool

    @property
    def labels(self) -> tuple[int, ...]:
        """One label per id: ``IGNORED`` on the prompt, the id itself on the response."""
        return (IGNORED,) * self.prompt_tokens + self.input_ids[self.prompt_tokens :]

    @property
    def supervised(self) -> int:
        """The number of tokens that carry loss."""
        return len(self.input_ids) - self.prompt_tokens

    @property
    def eos_supervised(self) -> bool:
        """Whether the model is taught to stop here."""
        return self.supervised > 0 and not self.truncated


@dataclass(frozen=True, slots=True)
class EncodingReport:
    """What encoding did to a set of examples; all but ``dropped`` count the examples that are kept.

    ``dropped`` examples have a prompt so long that no response token is left to learn from.
    ``tokens`` and ``supervised`` are in tokens, ``truncated`` and ``eos_supervised`` in examples.
    """

    examples: int
    tokens: int
    supervised: int
    truncated: int
    eos_supervised: int
    dropped: int

    @property
    def summary(self) -> str:
        """The report as one sentence, with truncated and dropped examples always named."""
        return (
            f"{self.examples} examples, {self.tokens} tokens of which {self.supervised} supervised; "
            f"{self.truncated} truncated, {self.eos_supervised} end with the end token, {self.dropped} dropped"
        )


def encode_example(
    encode: Callable[[str], list[int]],
    example: TrainingExample,
    eos_id: int,
    max_length: int,
    bos_id: int | None = None,
) -> Encoded:
    """``[bos] prompt response eos`` as ids, cut to ``max_length`` tokens.

    ``encode`` must add no special tokens. Prompt and response are tokenised apart and then joined: at generation the
    model is given the ids of the prompt alone, so the training ids must begin with exactly those. Tokenised as one
    string, the last character of the prompt and the first of the response could merge into a token that generation
    never shows, and the border between context and supervision would fall inside it.

    A prompt that fills ``max_length`` leaves nothing to learn: ``supervised`` is then 0 and the caller must drop it.
    Raises UsageError where ``max_length`` is below 2.
    """
    if max_length < 2:
        raise UsageError(f"max_length is {max_length}: an example needs at least one prompt and one response token")
    prompt = [*([] if bos_id is None else [bos_id]), *encode(example.prompt)]
    ids = [*prompt, *encode(example.response), eos_id]
    return Encoded(
        input_ids=tuple(ids[:max_length]),
        prompt_tokens=min(len(prompt), max_length),
        truncated=len(ids) > max_length,
    )


def keep_supervised(encoded: Iterable[Encoded]) -> list[Encoded]:
    """The examples that have something to learn, in order."""
    return [item for item in encoded if item.supervised > 0]


def describe(encoded: Sequence[Encoded]) -> EncodingReport:
    """Count what was kept, cut and dropped; pass every encoded example, also those without supervision."""
    kept = keep_supervised(encoded)
    return EncodingReport(
        examples=len(kept),
        tokens=sum(len(item.input_ids) for item in kept),
        supervised=sum(item.supervised for item in kept),
        truncated=sum(item.truncated for item in kept),
        eos_supervised=sum(item.eos_supervised for item in kept),
        dropped=len(encoded) - len(kept),
    )


def check_encoding(report: EncodingReport, max_length: int, max_truncated: float = 1.0) -> None:
    """Raises RefusedError where there is nothing to learn, or too few examples teach the model to stop.

    ``max_truncated`` is the share of examples that may be cut at ``max_length`` tokens.
    """
    if report.examples == 0:
        raise RefusedError(
            f"none of the {report.dropped} examples has a response token left within {max_length} tokens; "
            "raise max_length"
        )
    if report.eos_supervised == 0:
        raise RefusedError(
            f"all {report.examples} examples are cut at {max_length} tokens, so the end token is never supervised "
            "and the model would never learn to stop; raise max_length"
        )
    if report.truncated > max_truncated * report.examples:
        raise RefusedError(
            f"{report.truncated} of {report.examples} examples are cut at {max_length} tokens, more than "
            f"{max_truncated:.0%}; raise max_length, or allow it with --set max_truncated=1"
        )
