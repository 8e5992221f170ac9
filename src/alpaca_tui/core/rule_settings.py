"""Which rules apply, in which order and with which parameters: what a project says about the list of rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from alpaca_tui.core.records import Verdict


class Named(Protocol):
    """A rule of either kind."""

    @property
    def name(self) -> str:
        """The rule's name in verdicts, funnels and ``config.toml``."""


R = TypeVar("R", bound=Named)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Changes to the shipped lists of rules. None by default."""

    disabled: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    """Rules that come first, in this order; the others follow as shipped."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Rule name to parameters and their values, where they are not the shipped ones."""

    def of(self, name: str) -> Mapping[str, Any]:
        """The parameters set for a rule."""
        return self.parameters.get(name, {})

    def arranged(self, rules: Sequence[R]) -> tuple[R, ...]:
        """The rules that apply, in order."""
        place = {name: i for i, name in enumerate(self.order)}
        applied = [rule for rule in rules if rule.name not in self.disabled]
        return tuple(sorted(applied, key=lambda rule: place.get(rule.name, len(place))))


SHIPPED = RuleSettings()
"""Every rule, in the shipped order, with the shipped parameters."""

_TOLD_ELSEWHERE = {"name", "tokenizer"}


@lru_cache(maxsize=64)
def _changed(rule: Any) -> str:
    told = _TOLD_ELSEWHERE | ({"threshold"} if rule.name == "novelty" else set())
    changed = {
        f.name: value for f in fields(rule) if f.name not in told and (value := getattr(rule, f.name)) != _default(f)
    }
    return json.dumps(changed, ensure_ascii=False, sort_keys=True, default=asdict) if changed else ""


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def parameters_of(rule: Any) -> str:
    """The rule's parameters that are not the shipped ones, as a JSON object; empty where all are.

    The tokenizer and the threshold of ``novelty`` are left out, for every verdict bears them.
    """
    return _changed(rule)


def stamped(verdict: Verdict, parameters: str) -> Verdict:
    """The verdict with the parameters by which it was given."""
    return replace(verdict, parameters=parameters) if parameters else verdict
