"""What a replay of the filter says: of each candidate, of each sample, and in sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from alpaca_tui.core.records import Verdict
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_settings import RuleSettings


class By(TypedDict, total=False):
    """By what a replay decides, besides the threshold; what is left out is as the candidates were judged."""

    tokenizer: TokenizerName | None
    """How texts are cut into words."""
    rules: Collection[str] | None
    """Names of rules for instructions, with the order and the parameters of ``settings``."""
    settings: RuleSettings
    instances: bool | None
    """Whether the rules for instances of ``settings`` are asked of every sample again. None: where ``rules`` are given
    and the samples were judged by others. Else samples go with their instructions."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many candidates are kept, and how many each rule rejected (the first that failed), most first."""

    kept: int
    rejected: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay says of one candidate: the rule that rejects it, or None, before and after."""

    id: int
    instruction: str
    stage: str
    before: str | None
    after: str | None
    verdicts: tuple[Verdict, ...]
    """Those that the replay gives anew; ``duplicate`` and ``novelty`` always, where they apply. None in a brief plan
    where the candidate does not change sides."""


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What a replay says of one sample: its state and the rule that filters it, before and after."""

    id: int
    candidate_id: int
    from_state: str
    from_rule: str | None
    to_state: str
    to_rule: str | None
    verdicts: tuple[Verdict, ...] = ()
    """None where it was not judged: its instruction is rejected, or a person has had a say."""
    decided: bool = False
    """A person has had a say: it stays as it is."""

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return (self.from_state, self.from_rule) != (self.to_state, self.to_rule)


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay worked out: its settings and the outcome for every candidate, in order of arrival."""

    threshold: float
    tokenizer: TokenizerName
    places: Mapping[str, int]
    """The rules that apply, in their order, each with its position in the verdicts."""
    untouched: tuple[str, ...]
    """The rules whose stored verdicts stand."""
    outcomes: tuple[Outcome, ...]
    samples: tuple[SampleOutcome, ...] | None = None
    """The outcome for every sample, where the rules for instances were asked again."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules that apply, in their order."""
        return tuple(self.places)

    @property
    def before(self) -> Tally:
        """As the project is."""
        return _tally([outcome.before for outcome in self.outcomes])

    @property
    def after(self) -> Tally:
        """As it would be."""
        return _tally([outcome.after for outcome in self.outcomes])

    @property
    def samples_before(self) -> Tally | None:
        """Of the samples, as the project is."""
        return None if self.samples is None else _tally([_filtered_by(s.from_state, s.from_rule) for s in self.samples])

    @property
    def samples_after(self) -> Tally | None:
        """Of the samples, as it would be."""
        return None if self.samples is None else _tally([_filtered_by(s.to_state, s.to_rule) for s in self.samples])


def _filtered_by(state: str, rule: str | None) -> str | None:
    return (rule or state) if state == "filtered" else None


def _tally(rejected_by: Sequence[str | None]) -> Tally:
    counts = Counter(rejected_by)
    kept = counts.pop(None, 0)
    return Tally(kept, {rule: n for rule, n in counts.most_common() if rule is not None})
