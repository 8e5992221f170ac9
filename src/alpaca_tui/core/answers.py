"""What can be said of one answer without a person: empty, going in circles, cut off, right to the letter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alpaca_tui.core import preference, rouge, scoring
from alpaca_tui.core.instruction_rules import Repetition
from alpaca_tui.core.records import Completion
from alpaca_tui.core.rule_text import normalise

_REPETITION = Repetition()


@dataclass(frozen=True, slots=True)
class Metric:
    """How a figure is shown: its title, whether more is better (None: neither), whether it is a share."""

    name: str
    title: str
    more_is_better: bool | None
    is_share: bool = False

    def shown(self, value: float | None) -> str:
        """The value as people read it; a dash for none."""
        if value is None:
            return "–"
        if self.is_share:
            return f"{100 * value:.0f} %"
        return f"{value:.1f}" if self.name == "words" else f"{value:.3f}"

    def better(self, delta: float | None) -> bool | None:
        """Whether a change by ``delta`` is for the better; None where that can't be said."""
        if not delta or self.more_is_better is None:
            return None
        return (delta > 0) == self.more_is_better


METRICS = (
    Metric("held_out_loss", "held-out loss", False),
    Metric("rouge_l", "ROUGE-L", True),
    Metric("exact_match", "exact match", True, True),
    Metric("words", "words", None),
    Metric("empty", "empty", False, True),
    Metric("repetition", "repetitive", False, True),
    Metric("cut", "cut off", False, True),
)
"""The figures of an evaluation, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One answer's scores. ``exact`` is None where the task is no classification; ``words`` stand between blanks."""

    rouge_l: float
    exact: bool | None
    words: int
    empty: bool
    repetitive: bool
    cut: bool
    """The answer reached the limit of tokens."""


def score_answer(reference: str, completion: Completion, *, is_classification: bool) -> AnswerScore:
    """Score an answer against its reference.

    ``exact`` is after folding case and white space and dropping closing punctuation. Repetition is judged by the same
    rule that the filter applies to samples.
    """
    text = completion.text.strip()
    return AnswerScore(
        rouge_l=rouge.rouge_l_text(reference, text),
        exact=normalise(reference) == normalise(text) if is_classification else None,
        words=len(text.split()),
        empty=not text,
        repetitive=completion.finish_reason == "loop" or not _REPETITION.judge(text, None).passed,
        cut=completion.finish_reason == "length",
    )


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """One task's loss: nats summed over ``tokens`` supervised tokens."""

    nats: float
    tokens: int


def metrics(scores: Sequence[AnswerScore], losses: Sequence[TaskLoss] = ()) -> dict[str, float]:
    """Every figure of one model by name: means, shares, and 95 % intervals as ``<name>_low`` and ``<name>_high``.

    ``held_out_loss`` (nats per supervised token) is there only with losses, ``exact_match`` only where classification
    tasks are. Intervals: bootstrap over tasks for loss and ROUGE-L, Wilson's for the share of exact matches.
    """
    out: dict[str, float] = {}
    pairs = [(loss.nats, loss.tokens) for loss in losses if loss.tokens]
    if pairs:
        out |= named("held_out_loss", scoring.bootstrap_ratio(pairs))
    if scores:
        out |= named("rouge_l", scoring.bootstrap_mean([score.rouge_l for score in scores]))
        judged = [score.exact for score in scores if score.exact is not None]
        if judged:
            low, high = preference.wilson(sum(judged), len(judged))
            out |= {"exact_match": sum(judged) / len(judged), "exact_match_low": low, "exact_match_high": high}
            out["classification_items"] = float(len(judged))
        n = len(scores)
        out["words"] = sum(score.words for score in scores) / n
        out["empty"] = sum(score.empty for score in scores) / n
        out["repetition"] = sum(score.repetitive for score in scores) / n
        out["cut"] = sum(score.cut for score in scores) / n
        out["items"] = float(n)
    return out


def named(name: str, estimate: scoring.Estimate) -> dict[str, float]:
    """An estimate as three figures: ``name``, ``name_low``, ``name_high``."""
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models on the same tasks: the second minus the first, with its 95 % interval.

    ``delta`` and the interval are None where a model lacks the metric, or where the two cannot be compared.
    """

    metric: str
    first: float | None
    second: float | None
    delta: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def differences(
    first: Mapping[int, AnswerScore],
    second: Mapping[int, AnswerScore],
    first_losses: Mapping[int, TaskLoss],
    second_losses: Mapping[int, TaskLoss],
) -> list[Difference]:
    """Every metric of two models over the tasks (by position) that both answered, task by task.

    The pairs are resampled together, which is what makes the interval of the difference narrower than those of the
    two means (Koehn 2004, "Statistical significance tests for machine translation evaluation"). The losses of models
    that cut text into other tokens are not per the same token: no difference is given then.
    """
    both = sorted(first.keys() & second.keys())
    rows = [_loss_difference(first_losses, second_losses)] if first_losses or second_losses else []
    if not both:
        return rows
    ones, twos = [first[p] for p in both], [second[p] for p in both]
    rows.append(_mean_difference("rouge_l", [s.rouge_l for s in ones], [s.rouge_l for s in twos]))
    pairs = zip(ones, twos, strict=True)
    judged = [(a.exact, b.exact) for a, b in pairs if a.exact is not None and b.exact is not None]
    if judged:
        rows.append(_mean_difference("exact_match", [float(a) for a, _ in judged], [float(b) for _, b in judged]))
    for name in ("words", "empty", "repetitive", "cut"):
        shown = "repetition" if name == "repetitive" else name
        values = [[float(getattr(score, name)) for score in scores] for scores in (ones, twos)]
        rows.append(_mean_difference(shown, *values))
    return rows


def _mean_difference(name: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    n = len(first)
    found = scoring.bootstrap_mean([b - a for a, b in zip(first, second, strict=True)])
    return Difference(name, sum(first) / n, sum(second) / n, found.mean, found.low, found.high)


def _loss_difference(first: Mapping[int, TaskLoss], second: Mapping[int, TaskLoss]) -> Difference:
    both = sorted(p for p in first.keys() & second.keys() if first[p].tokens and second[p].tokens)
    means = [_mean(losses, both or losses.keys()) for losses in (first, second)]
    same = all(first[p].tokens == second[p].tokens for p in both)
    if not both or not same:
        return Difference("held_out_loss", means[0], means[1])
    found = scoring.bootstrap_ratio([(second[p].nats - first[p].nats, first[p].tokens) for p in both])
    return Difference("held_out_loss", means[0], means[1], found.mean, found.low, found.high)


def _mean(losses: Mapping[int, TaskLoss], positions: Iterable[int]) -> float | None:
    chosen = [losses[p] for p in positions]
    tokens = sum(loss.tokens for loss in chosen)
    return sum(loss.nats for loss in chosen) / tokens if tokens else None
