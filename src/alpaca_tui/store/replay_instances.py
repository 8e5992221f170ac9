"""The part of a replay that is about samples: the rules for instances, asked again of every stored sample."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.instance_rules import NEEDS_OUTPUT, InstanceRule
from alpaca_tui.core.records import ParsedInstance, Verdict
from alpaca_tui.core.replay_instances import Item, rejudge_instances
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_context import Context
from alpaca_tui.core.rule_settings import parameters_of
from alpaca_tui.core.rules import first_failure
from alpaca_tui.store.flips import RECLASSIFIED
from alpaca_tui.store.neighbours import Progress
from alpaca_tui.store.replay_records import SampleOutcome

_TELL = 200

_COLUMNS = "rule, position, passed, score, threshold, neighbour_sample_id, detail, tokenizer, parameters"

_INSERT = f"INSERT INTO sample_verdicts (sample_id, {_COLUMNS}) VALUES ({', '.join('?' * 10)})"


def have_changed(db: Database, rules: Sequence[InstanceRule], tokenizer: TokenizerName) -> bool:
    """Whether the stored samples were judged by other rules for instances, parameters or tokenizer than these."""
    query = "SELECT DISTINCT rule, tokenizer, parameters FROM sample_verdicts"
    stored = {tuple(row) for row in db.execute(query)}
    wanted = {(rule.name, tokenizer, parameters_of(rule)) for rule in rules}
    # Where all samples wait for another model's output, the rules that look at it have said nothing yet.
    missing = {rule for rule in wanted - stored if rule[0] not in NEEDS_OUTPUT}
    return bool(stored) and bool(stored - wanted or missing)


def decide(
    db: Database,
    after: Mapping[int, str | None],
    rules: Sequence[InstanceRule],
    tokenizer: TokenizerName,
    progress: Progress,
) -> list[SampleOutcome]:
    """The outcome for every sample, in order of arrival; ``after`` says what rejects each candidate, or None."""
    rows = db.execute(resources.query("replay_instances"), {"outputs": json.dumps(sorted(NEEDS_OUTPUT))}).fetchall()
    outcomes = []
    judged = rejudge_instances((_item(row, after) for row in rows), rules, Context(tokenizer))
    for done, (row, (item, verdicts)) in enumerate(zip(rows, judged, strict=True), start=1):
        outcomes.append(_outcome(row, after[row[1]], item, verdicts))
        if done % _TELL == 0 or done == len(rows):
            progress(done, len(rows))
    return outcomes


def _item(row: tuple, after: Mapping[int, str | None]) -> Item:
    number, candidate_id, completion_id, position, state, by, instruction, input, output, decided, draft = row
    stands: bool | None = None
    if decided:
        stands = state != "filtered"
    elif by == RECLASSIFIED or after[candidate_id] is not None:
        stands = False
    instance = ParsedInstance(position, input, output)
    return Item(number, (candidate_id, completion_id), instruction, instance, bool(draft), stands)


def _outcome(row: tuple, rule: str | None, item: Item, verdicts: tuple[Verdict, ...]) -> SampleOutcome:
    state, by, decided = row[4], row[5], bool(row[9])
    to: tuple[str, str | None]
    if decided or by == RECLASSIFIED:
        to = (state, by)
    elif rule is not None:
        to = ("filtered", rule)
    elif failed := first_failure(verdicts):
        to = ("filtered", failed.rule)
    else:
        to = ("waiting" if item.draft else "pending", None)
    return SampleOutcome(row[0], row[1], state, by, *to, verdicts, decided)


def change_verdicts(db: Database, replay_id: int, outcomes: Sequence[SampleOutcome], tokenizer: TokenizerName) -> None:
    """Give the samples the new verdicts and journal those they had, in the caller's transaction."""
    stored: dict[int, list[tuple]] = defaultdict(list)
    for sample_id, *values in db.execute(f"SELECT sample_id, {_COLUMNS} FROM sample_verdicts ORDER BY 1, 3"):
        stored[sample_id].append(tuple(values))
    changed = {
        one.id: new for one in outcomes if one.verdicts and (new := list(_rows(one, tokenizer))) != stored[one.id]
    }
    db.conn.executemany(
        "INSERT INTO replay_sample_verdicts VALUES (?, ?, ?)",
        [(replay_id, sample_id, json.dumps(stored[sample_id], ensure_ascii=False)) for sample_id in changed],
    )
    _set(db, changed)


def restore_verdicts(db: Database, replay_id: int) -> None:
    """Put back what ``change_verdicts`` took the place of, in the caller's transaction."""
    journal = db.execute("SELECT sample_id, verdicts FROM replay_sample_verdicts WHERE replay_id = ?", [replay_id])
    _set(db, {sample_id: json.loads(verdicts) for sample_id, verdicts in journal.fetchall()})


def _set(db: Database, verdicts: Mapping[int, Sequence[Sequence]]) -> None:
    db.conn.executemany("DELETE FROM sample_verdicts WHERE sample_id = ?", [(number,) for number in verdicts])
    db.conn.executemany(_INSERT, [(number, *row) for number, rows in verdicts.items() for row in rows])


def _rows(outcome: SampleOutcome, tokenizer: TokenizerName) -> Iterator[tuple]:
    for i, v in enumerate(outcome.verdicts):
        neighbour = v.neighbour.id if v.neighbour else None
        yield v.rule, i, int(v.passed), v.score, v.threshold, neighbour, v.detail, tokenizer, v.parameters
