"""Working out what a project's filter would decide at another threshold or by other rules; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core import replay as core
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.instruction_rules import InstructionRule, instruction_rules
from alpaca_tui.core.neighbours import Key
from alpaca_tui.core.novelty import DEFAULT_FLOOR
from alpaca_tui.core.records import Neighbour, Verdict
from alpaca_tui.core.replay import ORDER_DEPENDENT, Item, Scope
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_text import normalise
from alpaca_tui.core.rules import first_failure, judge_instruction
from alpaca_tui.store import neighbours
from alpaca_tui.store.neighbours import Progress

_Row = tuple[int, str, str, str | None]
"""A candidate's id, instruction, stage and rejected_by."""

_NEW = Verdict("duplicate", True)


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
    """Those that the replay gives anew; ``duplicate`` and ``novelty`` always, where they apply."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay worked out: its settings and the outcome for every candidate, in order of arrival."""

    threshold: float
    tokenizer: TokenizerName
    rules: tuple[str, ...]
    """The names of the rules that apply, in their order."""
    untouched: tuple[str, ...]
    """The rules whose stored verdicts stand."""
    outcomes: tuple[Outcome, ...]

    @property
    def before(self) -> Tally:
        """As the project is."""
        return _tally([outcome.before for outcome in self.outcomes])

    @property
    def after(self) -> Tally:
        """As it would be."""
        return _tally([outcome.after for outcome in self.outcomes])


def _tally(rejected_by: Sequence[str | None]) -> Tally:
    counts = Counter(rejected_by)
    kept = counts.pop(None, 0)
    return Tally(kept, {rule: n for rule, n in counts.most_common() if rule is not None})


def stored_tokenizer(db: Database) -> TokenizerName:
    """The tokenizer that the newest candidate was judged with; ``rouge`` where there is none."""
    row = db.execute("SELECT tokenizer FROM candidate_verdicts ORDER BY candidate_id DESC LIMIT 1").fetchone()
    return row[0] if row else "rouge"


def threshold_curve(db: Database, tokenizer: TokenizerName | None = None) -> list[tuple[float, int]]:
    """(X, how many candidates a replay at X would keep) for X = 0.50, 0.51 … 1.00, exactly.

    ``tokenizer`` None: that of the newest candidate. The verdicts of the rules that don't depend on X stand as stored.
    Pairs that are missing or no longer hold (older version, changed seeds or rules) are first found and stored; that
    takes about half a second per thousand candidates. AlpacaError if another process does the same at that moment.
    """
    tokenizer = tokenizer or stored_tokenizer(db)
    neighbours.complete(db, tokenizer)
    rows, seeds = _load(db)
    applied = [rule for rule in ORDER_DEPENDENT if _was_applied(db, rule)]
    kept = core.curve(
        _items(db, rows, None),
        neighbours.load(db, tokenizer, deciding=True),
        core.CURVE_THRESHOLDS,
        _scope(seeds, applied),
    )
    return list(zip(core.CURVE_THRESHOLDS, kept, strict=True))


def _was_applied(db: Database, rule: str) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM candidate_verdicts WHERE rule = ?)"
    return bool(db.execute(query, [rule]).fetchone()[0])


def make_plan(
    db: Database,
    threshold: float,
    *,
    tokenizer: TokenizerName | None,
    rules: Collection[str] | None,
    progress: Progress,
) -> Plan:
    """Decide every candidate anew in order of arrival, from stored verdicts and pairs as far as they go.

    ``rules`` are names; None: those by which the candidates were judged, each with its own, so that only the
    threshold changes. Where a rule applies by which some candidate was not judged, the texts are judged anew by the
    rules that look at nothing else; where that rejects a text which the pairs take for certain, for another tokenizer,
    and below 0.5, where no pairs are known, by all rules. Raises UsageError for an unknown rule or a threshold outside
    0 to 1.
    """
    stored = db.execute("SELECT rule, tokenizer, count(*) FROM candidate_verdicts GROUP BY 1, 2").fetchall()
    given = tokenizer or stored_tokenizer(db)
    names = {rule for rule, _, _ in stored} if rules is None else set(rules)
    chosen = _chosen(threshold, given, names, strict=rules is not None)
    total = db.execute("SELECT count(*) FROM candidates").fetchone()[0]
    judged = {rule for rule, name, n in stored if name == given and n == total}
    fixed = [rule.name for rule in chosen if rule.name not in ORDER_DEPENDENT]
    stands = all(rule in judged for rule in fixed) if rules is not None else tokenizer is None or _only(stored, given)
    if threshold < DEFAULT_FLOOR or given != stored_tokenizer(db):
        return _rejudged(db, threshold, given, chosen, progress)
    neighbours.complete(db, given, progress)
    rows, seeds = _load(db)
    if stands:
        items = _items(db, rows, None if rules is None else fixed)
        verdicts: Sequence[tuple[Verdict, ...]] = [()] * len(rows)
        standing = {rule for rule, _, _ in stored} if rules is None else set(fixed)
    else:
        verdicts = _judge_alone(rows, [rule for rule in chosen if rule.name in fixed], given, progress)
        failures = [first_failure(some) for some in verdicts]
        items = [
            Item(row[0], normalise(row[1]), failed.rule if failed else None)
            for row, failed in zip(rows, failures, strict=True)
        ]
        standing = set()
        if not neighbours.certain(db, given).isdisjoint(item.id for item in items if item.refused_by):
            return _rejudged(db, threshold, given, chosen, progress)
    applied = tuple(rule.name for rule in chosen)
    decisions = core.replay(items, neighbours.load(db, given), threshold, _scope(seeds, applied))
    outcomes = _outcomes(rows, seeds, threshold, applied, decisions, verdicts)
    return Plan(threshold, given, applied, tuple(standing.difference(ORDER_DEPENDENT)), outcomes)


def _only(stored: Sequence[tuple[str, str, int]], tokenizer: str) -> bool:
    return all(name == tokenizer for _, name, _ in stored)


def _chosen(threshold: float, tokenizer: TokenizerName, names: set[str], *, strict: bool) -> list[InstructionRule]:
    every = instruction_rules(threshold, tokenizer)
    unknown = names - {rule.name for rule in instruction_rules(threshold)}
    if strict and unknown:
        known = ", ".join(rule.name for rule in instruction_rules(threshold))
        raise UsageError(f"there is no rule {min(unknown)!r}; the rules for instructions are {known}")
    return [rule for rule in every if rule.name in names]


def _load(db: Database) -> tuple[list[_Row], list[tuple[int, str]]]:
    """Candidates, and seeds as (id, instruction), in order of arrival."""
    candidates = db.execute("SELECT id, instruction, stage, rejected_by FROM candidates ORDER BY id").fetchall()
    return candidates, db.execute("SELECT id, instruction FROM current_seeds ORDER BY id").fetchall()


def _items(db: Database, rows: Sequence[_Row], fixed: Collection[str] | None) -> list[Item]:
    """The candidates with the first of the ``fixed`` rules (None: all but the order-dependent) that rejected each."""
    refused: dict[int, str] = {}
    failed = db.execute("SELECT candidate_id, rule FROM candidate_verdicts WHERE passed = 0 ORDER BY 1, position")
    for candidate_id, rule in failed:
        if rule not in ORDER_DEPENDENT and (fixed is None or rule in fixed):
            refused.setdefault(candidate_id, rule)
    return [Item(row[0], normalise(row[1]), refused.get(row[0])) for row in rows]


def _scope(seeds: Sequence[tuple[int, str]], names: Collection[str]) -> Scope:
    wordings: dict[str, int] = {}
    for seed_id, text in seeds:
        wordings.setdefault(normalise(text), seed_id)
    return Scope(wordings, "duplicate" in names, "novelty" in names)


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
    rows: Sequence[_Row],
    seeds: Sequence[tuple[int, str]],
    threshold: float,
    names: Collection[str],
    decisions: Sequence[core.Decision],
    verdicts: Sequence[tuple[Verdict, ...]],
) -> tuple[Outcome, ...]:
    """The decisions as the rules would put them, after the ``verdicts`` that were given anew."""
    texts: dict[Key, str] = {("seed", seed_id): text for seed_id, text in seeds}
    texts |= {("candidate", row[0]): row[1] for row in rows}

    def neighbour(key: Key | None) -> Neighbour | None:
        return None if key is None else Neighbour(key[0], key[1], texts[key])

    novel = Verdict("novelty", True, None, threshold, detail=f"nothing above {DEFAULT_FLOOR:g}")
    outcomes = []
    for (candidate_id, text, stage, before), decision, given in zip(rows, decisions, verdicts, strict=True):
        found = list(given)
        if "duplicate" in names:
            same = neighbour(decision.same_as)
            found.append(Verdict("duplicate", False, neighbour=same) if same else _NEW)
        if "novelty" in names:
            score = decision.score
            nearest = neighbour(decision.nearest)
            found.append(novel if score is None else Verdict("novelty", score <= threshold, score, threshold, nearest))
        outcomes.append(Outcome(candidate_id, text, stage, before, decision.rejected_by, tuple(found)))
    return tuple(outcomes)


def _rejudged(
    db: Database, threshold: float, tokenizer: TokenizerName, chosen: Sequence[InstructionRule], progress: Progress
) -> Plan:
    rows, seeds = _load(db)
    judged = core.rejudge(
        [Neighbour("seed", seed_id, text) for seed_id, text in seeds],
        [Neighbour("candidate", row[0], row[1]) for row in rows],
        chosen,
        tokenizer,
        lambda done: progress(done, len(rows)),
    )
    outcomes = []
    for (candidate_id, text, stage, before), verdicts in zip(rows, judged, strict=True):
        failed = first_failure(verdicts)
        outcomes.append(Outcome(candidate_id, text, stage, before, failed.rule if failed else None, verdicts))
    return Plan(threshold, tokenizer, tuple(rule.name for rule in chosen), (), tuple(outcomes))
