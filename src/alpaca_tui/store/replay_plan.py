"""Working out what a project's filter would decide at another threshold or by other rules; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core import replay as core
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.instance_rules import instance_rules
from alpaca_tui.core.instruction_rules import InstructionRule, instruction_rules
from alpaca_tui.core.neighbours import Key, Pair, PairFinder, Pairs, collect
from alpaca_tui.core.novelty import DEFAULT_FLOOR
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.replay import ORDER_DEPENDENT, Item, Scope
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import SHIPPED, RuleSettings, parameters_of
from alpaca_tui.core.rule_text import normalise
from alpaca_tui.core.rules import first_failure, judge_instruction
from alpaca_tui.store import neighbours, replay_instances, rescues
from alpaca_tui.store.neighbours import Progress
from alpaca_tui.store.replay_records import By, Outcome, Plan

_Row = tuple[int, str, str, str | None]
"""A candidate's id, instruction, stage and rejected_by."""

_NEW = Verdict("duplicate", True)


def stored_tokenizer(db: Database) -> TokenizerName:
    """The tokenizer that the newest candidate was judged with; ``rouge`` where there is none."""
    row = db.execute("SELECT tokenizer FROM candidate_verdicts ORDER BY candidate_id DESC LIMIT 1").fetchone()
    return row[0] if row else "rouge"


@dataclass(frozen=True, slots=True)
class _Stored:
    """By what the candidates were judged."""

    verdicts: tuple[tuple[str, str, str, int, int], ...]
    """(rule, tokenizer, parameters, how many verdicts, the highest position), in the order of the positions."""

    @property
    def order(self) -> tuple[str, ...]:
        """The rules, in the order in which the first failure was named."""
        return tuple(dict.fromkeys(rule for rule, *_ in self.verdicts))

    def stands(self, rule: InstructionRule, tokenizer: str, candidates: int) -> bool:
        """Whether every candidate was judged by exactly this rule."""
        wanted = (rule.name, tokenizer, parameters_of(rule), candidates)
        return any(found[:4] == wanted for found in self.verdicts)

    def only(self, tokenizer: str) -> bool:
        """Whether every verdict comes from this tokenizer."""
        return all(name == tokenizer for _, name, *_ in self.verdicts)

    def places(self, order: Sequence[str]) -> dict[str, int]:
        """The position of each rule in ``order``: the stored ones, unless that is another order."""
        stored = {rule: place for rule, *_, place in self.verdicts} if self.keeps(order) else {}
        return {rule: stored.get(rule, i) for i, rule in enumerate(order)}

    def keeps(self, order: Sequence[str]) -> bool:
        """Whether the rules stand in this order already."""
        stored = {rule: place for rule, *_, place in self.verdicts}
        known = [stored[rule] for rule in order if rule in stored]
        return known == sorted(set(known))


def _stored(db: Database) -> _Stored:
    return _Stored(tuple(db.execute(resources.query("verdict_origins")).fetchall()))


def threshold_curve(
    db: Database, *, progress: Progress = neighbours.quiet, **by: Unpack[By]
) -> list[tuple[float, int]]:
    """(X, how many candidates a replay at X would keep) for X = 0.50, 0.51 … 1.00, exactly; samples are not counted.

    Pairs that are missing or no longer hold (older version, changed seeds or rules) are first found and stored; that
    takes some seconds for ten thousand candidates. AlpacaError if another process does the same at that moment.
    """
    rules = by.get("rules")
    stored = _stored(db)
    given = by.get("tokenizer") or stored_tokenizer(db)
    chosen = _chosen(DEFAULT_FLOOR, given, stored.order, rules, by.get("settings", SHIPPED))
    basis = _basis(db, given, chosen, stored, as_judged=rules is None, progress=progress)
    pairs = neighbours.load(db, given, deciding=True) if basis.pairs_hold else _found_anew(basis, given, progress)
    kept = core.curve(basis.items, pairs, core.CURVE_THRESHOLDS, _scope(basis.seeds, [rule.name for rule in chosen]))
    return list(zip(core.CURVE_THRESHOLDS, kept, strict=True))


def make_plan(db: Database, threshold: float, *, progress: Progress, brief: bool = False, **by: Unpack[By]) -> Plan:
    """Decide every candidate anew in order of arrival, from stored verdicts and pairs as far as they go; also samples.

    Where a rule applies by which some candidate was not judged, the texts are judged anew by the rules that look at
    nothing else; where that rejects a text which the pairs take for certain, for another tokenizer, and below 0.5,
    where no pairs are known, by all rules. With ``brief``, verdicts are given only where a candidate changes sides.
    Raises UsageError for an unknown rule or a threshold outside 0 to 1.
    """
    rules, settings, instances = by.get("rules"), by.get("settings", SHIPPED), by.get("instances")
    stored = _stored(db)
    given = by.get("tokenizer") or stored_tokenizer(db)
    chosen = _chosen(threshold, given, stored.order, rules, settings)
    plan = None
    if threshold >= DEFAULT_FLOOR and given == stored_tokenizer(db):
        basis = _basis(db, given, chosen, stored, as_judged=rules is None, progress=progress)
        plan = _from_pairs(db, threshold, given, chosen, stored, basis, brief=brief) if basis.pairs_hold else None
    plan = plan or _rejudged(db, threshold, given, chosen, stored, progress)
    asked = instance_rules(settings)
    if instances is None:
        instances = rules is not None and replay_instances.have_changed(db, asked, given)
    if not instances:
        return plan
    after = {outcome.id: outcome.after for outcome in plan.outcomes}
    return replace(plan, samples=tuple(replay_instances.decide(db, after, asked, given, progress)))


def _from_pairs(
    db: Database,
    threshold: float,
    tokenizer: TokenizerName,
    chosen: Sequence[InstructionRule],
    stored: _Stored,
    basis: _Basis,
    *,
    brief: bool,
) -> Plan:
    places = stored.places([rule.name for rule in chosen])
    floor = threshold if brief else DEFAULT_FLOOR
    pairs = neighbours.load(db, tokenizer, deciding=brief)
    decisions = core.replay(basis.items, pairs, threshold, _scope(basis.seeds, tuple(places)), floor)
    outcomes = _outcomes(basis, threshold, places, decisions, brief=brief)
    return Plan(threshold, tokenizer, places, tuple(basis.standing.difference(ORDER_DEPENDENT)), outcomes)


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a replay starts from."""

    rows: Sequence[_Row]
    seeds: Sequence[tuple[int, str]]
    items: Sequence[Item]
    verdicts: Sequence[tuple[Verdict, ...]]
    """Those given anew, by rules that look at the text alone."""
    standing: frozenset[str]
    """The rules whose stored verdicts hold."""
    rescued: frozenset[int]
    """Candidates that a person took back in: every replay keeps them."""
    pairs_hold: bool
    """Whether the stored pairs serve: the rules reject no text that was taken for certain."""


def _basis(
    db: Database,
    tokenizer: TokenizerName,
    chosen: Sequence[InstructionRule],
    stored: _Stored,
    *,
    as_judged: bool,
    progress: Progress,
) -> _Basis:
    fixed = [rule for rule in chosen if rule.name not in ORDER_DEPENDENT]
    neighbours.complete(db, tokenizer, progress)
    rows, seeds = _load(db)
    rescued = _rescued(db)
    if as_judged and stored.only(tokenizer):
        items = _items(db, rows, None, rescued)
        return _Basis(rows, seeds, items, [()] * len(rows), frozenset(stored.order), rescued, True)
    if stored.keeps([rule.name for rule in chosen]) and all(
        stored.stands(rule, tokenizer, len(rows)) for rule in fixed
    ):
        names = frozenset(rule.name for rule in fixed)
        return _Basis(rows, seeds, _items(db, rows, names, rescued), [()] * len(rows), names, rescued, True)
    verdicts = _judge_alone(rows, fixed, tokenizer, progress)
    failures = [first_failure(some) for some in verdicts]
    items = [
        Item(row[0], normalise(row[1]), failed.rule if failed else None, row[0] in rescued)
        for row, failed in zip(rows, failures, strict=True)
    ]
    refused = {item.id for item in items if item.refused_by}
    holds = neighbours.certain(db, tokenizer).isdisjoint(refused)
    return _Basis(rows, seeds, items, verdicts, frozenset(), rescued, holds)


def _found_anew(basis: _Basis, tokenizer: TokenizerName, progress: Progress) -> Pairs:
    """The pairs as they would be stored had the texts been judged by these rules."""
    asked = [(row[0], row[1], item.refused_by is None) for row, item in zip(basis.rows, basis.items, strict=True)]
    found = PairFinder(basis.seeds, tokenizer, rescued=basis.rescued).find_all(asked)

    def told() -> Iterator[tuple[int, Sequence[Pair]]]:
        for done, (one, some) in enumerate(zip(asked, found, strict=True), start=1):
            progress(done, len(asked))
            yield one[0], some.pairs

    return collect(told(), deciding=True)


def _chosen(
    threshold: float,
    tokenizer: TokenizerName,
    stored: Sequence[str],
    names: Collection[str] | None,
    settings: RuleSettings,
) -> list[InstructionRule]:
    """The rules of these names by ``settings``; None: the stored ones, in their order."""
    if names is None:
        every = instruction_rules(threshold, tokenizer, RuleSettings(order=tuple(stored)))
        return [rule for rule in every if rule.name in stored]
    known = [rule.name for rule in instruction_rules(threshold)]
    unknown = sorted(set(names).difference(known))
    if unknown:
        raise UsageError(f"there is no rule {unknown[0]!r}; the rules for instructions are {', '.join(known)}")
    return [rule for rule in instruction_rules(threshold, tokenizer, settings) if rule.name in names]


def _load(db: Database) -> tuple[list[_Row], list[tuple[int, str]]]:
    """Candidates, and seeds as (id, instruction), in order of arrival."""
    candidates = db.execute("SELECT id, instruction, stage, rejected_by FROM candidates ORDER BY id").fetchall()
    return candidates, db.execute("SELECT id, instruction FROM current_seeds ORDER BY id").fetchall()


def _rescued(db: Database) -> frozenset[int]:
    return frozenset(entry.id for entry in rescues.taken_in(db))


def _items(db: Database, rows: Sequence[_Row], fixed: Collection[str] | None, rescued: Collection[int]) -> list[Item]:
    """The candidates with the first of the ``fixed`` rules (None: all but the order-dependent) that rejected each."""
    refused: dict[int, str] = {}
    failed = db.execute("SELECT candidate_id, rule FROM candidate_verdicts WHERE passed = 0 ORDER BY 1, position")
    for candidate_id, rule in failed:
        if rule not in ORDER_DEPENDENT and (fixed is None or rule in fixed):
            refused.setdefault(candidate_id, rule)
    return [Item(row[0], normalise(row[1]), refused.get(row[0]), row[0] in rescued) for row in rows]


def _scope(seeds: Sequence[tuple[int, str]], rules: Sequence[str]) -> Scope:
    wordings: dict[str, int] = {}
    for seed_id, text in seeds:
        wordings.setdefault(normalise(text), seed_id)
    return Scope(wordings, tuple(rules))


def _judge_alone(
    rows: Sequence[_Row], rules: Sequence[InstructionRule], tokenizer: TokenizerName, progress: Progress
) -> list[tuple[Verdict, ...]]:
    """The verdicts of rules that depend on the text alone."""
    nothing = Context(tokenizer)
    judged = []
    for done, row in enumerate(rows, start=1):
        judged.append(judge_instruction(row[1], rules, nothing))
        progress(done, len(rows))
    return judged


def _outcomes(
    basis: _Basis, threshold: float, names: Collection[str], decisions: Sequence[core.Decision], *, brief: bool
) -> tuple[Outcome, ...]:
    """The decisions as the rules would put them, after the verdicts that were given anew."""
    texts: dict[Key, str] = {("seed", seed_id): text for seed_id, text in basis.seeds}
    texts |= {("candidate", row[0]): row[1] for row in basis.rows}

    def neighbour(key: Key | None) -> Neighbour | None:
        return None if key is None else Neighbour(key[0], key[1], texts[key])

    novel = Verdict("novelty", True, None, threshold, detail=f"nothing above {DEFAULT_FLOOR:g}")

    def verdicts(given: tuple[Verdict, ...], decision: core.Decision) -> tuple[Verdict, ...]:
        found = list(given)
        if "duplicate" in names:
            same = neighbour(decision.same_as)
            found.append(Verdict("duplicate", False, neighbour=same) if same else _NEW)
        if "novelty" in names:
            score = decision.score
            nearest = neighbour(decision.nearest)
            found.append(novel if score is None else Verdict("novelty", score <= threshold, score, threshold, nearest))
        return tuple(found)

    outcomes = []
    for (number, text, stage, before), decision, given in zip(basis.rows, decisions, basis.verdicts, strict=True):
        after = decision.rejected_by
        told = not brief or (before is None) != (after is None)
        outcomes.append(Outcome(number, text, stage, before, after, verdicts(given, decision) if told else ()))
    return tuple(outcomes)


def _rejudged(
    db: Database,
    threshold: float,
    tokenizer: TokenizerName,
    chosen: Sequence[InstructionRule],
    stored: _Stored,
    progress: Progress,
) -> Plan:
    rows, seeds = _load(db)
    rescued = _rescued(db)
    judged = core.rejudge(
        [Neighbour("seed", seed_id, text) for seed_id, text in seeds],
        [Neighbour("candidate", row[0], row[1]) for row in rows],
        chosen,
        tokenizer,
        lambda done: progress(done, len(rows)),
        rescued,
    )
    outcomes = []
    for (candidate_id, text, stage, before), verdicts in zip(rows, judged, strict=True):
        failed = None if candidate_id in rescued else first_failure(verdicts)
        outcomes.append(Outcome(candidate_id, text, stage, before, failed.rule if failed else None, verdicts))
    return Plan(threshold, tokenizer, stored.places([rule.name for rule in chosen]), (), tuple(outcomes))
