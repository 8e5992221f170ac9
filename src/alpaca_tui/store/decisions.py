"""The decision journal: accept, reject, edit, tag, rescue, flip; undo and redo without limit, across restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui.core.errors import UsageError
from alpaca_tui.store import flips, rescues, samples
from alpaca_tui.store.database import now, write

MAX_TAG = 40
"""Characters."""

_TARGET = {"accept": "accepted", "reject": "rejected", "rescue": "pending"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the journal."""

    id: int
    batch: int
    sample_id: int | None
    """None: a decision on an instruction."""
    action: str
    from_state: str
    to_state: str
    reason: str | None
    """Why it was rejected; of ``tag`` and ``untag`` the tag."""
    candidate_id: int | None = None
    """The instruction, where the decision is on one."""

    @property
    def subject(self) -> str:
        """What was decided on, such as '#12' or 'instruction 40'."""
        return f"#{self.sample_id}" if self.sample_id is not None else f"instruction {self.candidate_id}"


def decide(db: Database, action: str, sample_ids: Sequence[int], reason: str | None = None) -> list[Decision]:
    """Accept, reject or rescue the samples in one transaction; those already there are left alone.

    Raises UsageError on an unknown sample, and on accepting or rejecting one that the filter threw out (rescue it
    first); then nothing is changed.
    """
    to_state = _TARGET[action]
    with write(db):
        found = [_existing(db, sample_id) for sample_id in dict.fromkeys(sample_ids)]
        for row in found:
            _refuse(action, row)
        return _journal(db, action, [(row, to_state, row.revision) for row in found if row.state != to_state], reason)


def rescue(db: Database, sample_ids: Sequence[int] = (), candidate_ids: Sequence[int] = ()) -> list[Decision]:
    """Bring filtered samples into the queue and rejected instructions back into the pool, as one batch.

    An instruction goes on to what it lacks: classification, instances; the running or the next generation asks for
    them. Raises UsageError where there is nothing to rescue; then nothing is changed.
    """
    with write(db):
        made = decide(db, "rescue", sample_ids) if sample_ids else []
        if not candidate_ids:
            return made
        _supersede(db)
        number = _next_id(db)
        batch = made[0].batch if made else number
        return made + [_rescued(one) for one in rescues.rescue(db, number, batch, candidate_ids)]


def _rescued(one: rescues.Rescue) -> Decision:
    return Decision(one.id, one.batch, None, "rescue", "rejected", "kept", one.rule, one.candidate_id)


def tag(db: Database, sample_ids: Sequence[int], name: str, *, take: bool = False) -> list[Decision]:
    """Give the samples a tag (or ``take`` it from them) in one batch; those that have it (have it not) are left alone.

    Raises UsageError on an unknown sample, and on a tag that is blank, longer than 40 characters or not on one line.
    """
    name = name.strip()
    if not name or len(name) > MAX_TAG or not name.isprintable():
        raise UsageError(f"a tag is one line of 1 to {MAX_TAG} printable characters")
    with write(db):
        found = [_existing(db, sample_id) for sample_id in dict.fromkeys(sample_ids)]
        changing = [row for row in found if _has_tag(db, row.id, name) == take]
        made = _journal(db, "untag" if take else "tag", [(row, row.state, row.revision) for row in changing], name)
        for decision in made:
            _set_tag(db, decision.sample_id, name, take=take)
        return made


def _has_tag(db: Database, sample_id: int, name: str) -> bool:
    return db["sample_tags"].count_where("sample_id = ? AND tag = ?", [sample_id, name]) > 0


def _set_tag(db: Database, sample_id: int | None, name: str | None, *, take: bool) -> None:
    sql = (
        "DELETE FROM sample_tags WHERE sample_id = ? AND tag = ?"
        if take
        else "INSERT OR IGNORE INTO sample_tags (sample_id, tag) VALUES (?, ?)"
    )
    db.execute(sql, [sample_id, name])


def _refuse(action: str, row: _Sample) -> None:
    if action == "rescue" and row.state not in ("filtered", "waiting"):
        raise UsageError(f"sample {row.id} is {row.state}, not filtered: there is nothing to rescue")
    if action != "rescue" and row.state == "waiting":
        raise UsageError(f"sample {row.id} waits for another model's output; rescue it to judge it as it is")
    if action != "rescue" and row.state == "filtered":
        raise UsageError(f"sample {row.id} was filtered out by the rule {row.rejected_by}; rescue it before judging it")


def edit(db: Database, sample_id: int, instruction: str, input: str, output: str) -> Decision | None:
    """Add a revision with a person's text (the original stays); None where nothing differs."""
    with write(db):
        row = _existing(db, sample_id)
        text = samples.get(db, sample_id)
        if text is None or (text.instruction, text.input, text.output) == (instruction, input, output):
            return None
        newest = db.execute("SELECT max(revision) FROM sample_revisions WHERE sample_id = ?", [sample_id]).fetchone()[0]
        samples.insert_revision(db, sample_id, newest + 1, "person", instruction, input, output)
        return _journal(db, "edit", [(row, row.state, newest + 1)], None)[0]


def flip_classification(db: Database, candidate_id: int) -> list[Decision]:
    """A person says that the candidate is a classification task after all, or that it is none.

    Its instances are generated anew by the running or the next generation. Samples of the former kind that were still
    to be judged leave the queue (filtered, by "reclassified"); undo brings them back. Raises UsageError for a candidate
    that is unknown, was never classified or has no sample.
    """
    with write(db):
        before = flips.kind_of(db, candidate_id)
        query = "SELECT id, state, rejected_by, revision FROM samples WHERE candidate_id = ? ORDER BY id"
        rows = [_Sample(*row) for row in db.execute(query, [candidate_id]).fetchall()]
        if not rows:
            raise UsageError(f"candidate {candidate_id} has no sample yet; there is nothing to review")
        leaving = [row for row in rows if row.state in ("pending", "waiting")]
        # Where nothing leaves the queue the journal still needs a line to be undone by.
        changes = [(row, "filtered", row.revision) for row in leaving] or [(rows[0], rows[0].state, rows[0].revision)]
        made = _journal(db, "flip", changes, None)
        flips.turn(db, made[0].batch, candidate_id, before)
    return made


@dataclass(frozen=True, slots=True)
class _Sample:
    id: int
    state: str
    rejected_by: str | None
    revision: int


def _existing(db: Database, sample_id: int) -> _Sample:
    found = None
    if 0 < sample_id < 2**63:  # what SQLite can number
        found = db.execute("SELECT id, state, rejected_by, revision FROM samples WHERE id = ?", [sample_id]).fetchone()
    if found is None:
        raise UsageError(f"there is no sample {sample_id}; list them with: alpaca-tui review list")
    return _Sample(*found)


def _journal(
    db: Database, action: str, changes: Sequence[tuple[_Sample, str, int]], reason: str | None
) -> list[Decision]:
    """Carry out (sample, new state, new revision) and write it down, as one batch. In the caller's transaction."""
    if not changes:
        return []
    _supersede(db)
    first = _next_id(db)
    at = now()
    # In bulk: a hundred thousand decisions must not hold the database for longer than others wait for it.
    db.conn.executemany(
        "INSERT INTO decisions (id, batch, sample_id, action, from_state, to_state, from_revision, to_revision, reason,"
        " decided_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (first + i, first, row.id, action, row.state, to_state, row.revision, to_revision, reason, at)
            for i, (row, to_state, to_revision) in enumerate(changes)
        ],
    )
    db.conn.executemany(
        "UPDATE samples SET state = ?, revision = ? WHERE id = ?",
        [(to_state, to_revision, row.id) for row, to_state, to_revision in changes],
    )
    return [
        Decision(first + i, first, row.id, action, row.state, to_state, reason)
        for i, (row, to_state, _) in enumerate(changes)
    ]


def _supersede(db: Database) -> None:
    """A new decision takes the place of whatever had been undone: that can no longer be redone."""
    for table in ("decisions", "rescues"):
        db.execute(f"UPDATE {table} SET superseded = 1 WHERE undone_at IS NOT NULL AND superseded = 0")


def _next_id(db: Database) -> int:
    """The next line's number, which both halves of the journal share."""
    query = "SELECT max((SELECT coalesce(max(id), 0) FROM decisions), (SELECT coalesce(max(id), 0) FROM rescues)) + 1"
    return int(db.execute(query).fetchone()[0])


def _restore(db: Database, sample_id: int, state: str, revision: int) -> None:
    db.execute("UPDATE samples SET state = ?, revision = ? WHERE id = ?", [state, revision, sample_id])


def undo(db: Database) -> list[Decision]:
    """Take back the latest decision (with its whole batch); empty where there is none left."""
    with write(db):
        batch = _outermost(db, "max", "undone_at IS NULL")
        if batch is None:
            return []
        rows = _batch(db, batch)
        for row in reversed(rows):
            _restore(db, row["sample_id"], row["from_state"], row["from_revision"])
            if row["action"] in ("tag", "untag"):
                _set_tag(db, row["sample_id"], row["reason"], take=row["action"] == "tag")
        flips.turn_back(db, batch)
        db.execute("UPDATE decisions SET undone_at = ? WHERE batch = ?", [now(), batch])
        taken_back = rescues.turn_back(db, batch)
    return [_decision(row) for row in rows] + [_rescued(one) for one in taken_back]


def redo(db: Database) -> list[Decision]:
    """Make again the decision (with its batch) that was undone last; empty where there is none."""
    with write(db):
        # Undo goes backwards through the journal, so the next to redo is the oldest undone one.
        batch = _outermost(db, "min", "undone_at IS NOT NULL AND superseded = 0")
        if batch is None:
            return []
        rows = _batch(db, batch)
        for row in rows:
            _restore(db, row["sample_id"], row["to_state"], row["to_revision"])
            if row["action"] in ("tag", "untag"):
                _set_tag(db, row["sample_id"], row["reason"], take=row["action"] == "untag")
        flips.turn_again(db, batch)
        db.execute("UPDATE decisions SET undone_at = NULL WHERE batch = ?", [batch])
        made_again = rescues.turn_again(db, batch)
    return [_decision(row) for row in rows] + [_rescued(one) for one in made_again]


def _outermost(db: Database, which: str, where: str) -> int | None:
    """The latest ("max") or earliest ("min") batch of either half of the journal that meets the condition."""
    # One look at the end of an index each; a union of both tables would be read whole.
    found = [
        db.execute(f"SELECT {which}(batch) FROM {table} WHERE {where}").fetchone()[0]
        for table in ("decisions", "rescues")
    ]
    known = [batch for batch in found if batch is not None]
    return (max if which == "max" else min)(known, default=None)


def _batch(db: Database, batch: int) -> list[dict]:
    return list(db["decisions"].rows_where("batch = ?", [batch], order_by="id"))


def _decision(row: dict) -> Decision:
    return Decision(
        row["id"],
        row["batch"],
        row["sample_id"],
        row["action"],
        row["from_state"],
        row["to_state"],
        row["reason"],
    )


def pace(db: Database, window_s: float = 600.0) -> float:
    """Decisions an hour over the last ``window_s`` seconds."""
    made = db.execute(
        "SELECT count(*) FROM decisions WHERE undone_at IS NULL AND decided_at > ?", [now() - window_s]
    ).fetchone()[0]
    return float(made) * 3600.0 / window_s
