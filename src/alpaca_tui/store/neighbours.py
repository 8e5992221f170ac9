"""The pairs of alike candidates as stored: written while filtering, completed or renewed where they don't hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.neighbours import Bounds, Found, PairFinder, Pairs
from alpaca_tui.core.novelty import DEFAULT_FLOOR
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store import rescues
from alpaca_tui.store.database import snapshot, write

_TABLES = ("seed_neighbours", "candidate_neighbours", "neighbour_bounds", "neighbour_coverage")

_TELL = 1000

Progress = Callable[[int, int], None]
"""Told (candidates done, candidates in all)."""


def quiet(done: int, total: int) -> None:
    """Tell nobody."""


class Concurrent(AlpacaError):
    """Another process has stored pairs meanwhile."""


@dataclass(frozen=True, slots=True)
class _Coverage:
    """Pairs are complete up to this candidate (0: there are none), for seeds and rescued candidates of this hash."""

    candidate_id: int = 0
    seeds_hash: str = ""


class History:
    """Seeds and every candidate so far, as the filter meets them; ``note`` each new candidate.

    Opening it completes the pairs of candidates that were stored without it, and finds all anew where seeds or
    verdicts have changed under them.
    """

    def __init__(self, db: Database, tokenizer: TokenizerName = "rouge", progress: Progress = quiet) -> None:
        self._db, self._tokenizer = db, tokenizer
        self._open(progress)

    def _open(self, progress: Progress) -> None:
        db, tokenizer = self._db, self._tokenizer
        # As of one moment: what another worker stores between two queries would look like a candidate without pairs.
        with snapshot(db):
            seeds, rescued = _seeds(db), _rescued(db)
            stored = _coverage(db, tokenizer)
            covered = stored.candidate_id if _holds(db, tokenizer, stored, seeds, rescued) else 0
            self._finder = PairFinder(seeds, tokenizer, rescued=rescued)
            self._know(0, covered)
            query = resources.query("neighbour_candidates")
            rows = [(n, text, bool(passed)) for n, text, passed in db.execute(query, {"covered": covered})]
        found: list[tuple[int, Found]] = []
        for (candidate_id, _, _), one in zip(rows, self._finder.find_all(rows), strict=True):
            found.append((candidate_id, one))
            if len(found) % _TELL == 0 or len(found) == len(rows):
                progress(len(found), len(rows))
        self._coverage = _Coverage(rows[-1][0] if rows else covered, _hash(seeds, rescued))
        if found:
            self._store(found, stored, anew=not covered)

    def _know(self, after: int, covered: int) -> None:
        """Learn the candidates above ``after`` whose pairs are stored."""
        values = {"tokenizer": self._tokenizer, "after": after, "covered": covered}
        known = self._db.execute(resources.query("neighbour_bounds"), values).fetchall()
        self._finder.know((n, text, None if barred is None else Bounds(barred, at)) for n, text, barred, at in known)

    def catch_up(self) -> None:
        """Learn what other workers have noted since, in the caller's write transaction, before judging."""
        stored = _coverage(self._db, self._tokenizer)
        # Where seeds have changed, or all pairs are gone, ``note`` opens the history anew.
        if stored.seeds_hash == self._coverage.seeds_hash and stored.candidate_id > self._coverage.candidate_id:
            self._know(self._coverage.candidate_id, stored.candidate_id)
            self._coverage = stored

    def _store(self, found: Sequence[tuple[int, Found]], before: _Coverage, *, anew: bool) -> None:
        """All in one transaction: pairs of two seed wordings, or half of them, would be wrong without a sign."""
        with write(self._db):
            if _coverage(self._db, self._tokenizer) != before:
                raise Concurrent("another process is comparing this project's candidates at this moment; try again")
            if anew:
                for table in _TABLES:
                    self._db.execute(f"DELETE FROM {table} WHERE tokenizer = ?", [self._tokenizer])
            _insert(self._db, self._tokenizer, found)
            _set_coverage(self._db, self._tokenizer, self._coverage)

    def note(self, candidate_id: int, text: str, passed: bool) -> None:
        """Find and store the new candidate's pairs, in the caller's transaction; it is known from now on.

        ``passed`` is whether the rules other than ``duplicate`` and ``novelty`` passed it.
        """
        stored = _coverage(self._db, self._tokenizer)
        if stored != self._coverage and (stored.candidate_id or self._coverage.candidate_id):
            # Seeds were changed, and another process has found the pairs anew. This candidate is stored already.
            self._open(quiet)
            return
        _insert(self._db, self._tokenizer, [(candidate_id, self._finder.find(candidate_id, text, passed))])
        self._coverage = _Coverage(candidate_id, self._coverage.seeds_hash)
        _set_coverage(self._db, self._tokenizer, self._coverage)


def complete(db: Database, tokenizer: TokenizerName = "rouge", progress: Progress = quiet) -> None:
    """Bring the pairs up to date with today's candidates, seeds and verdicts; a few queries where nothing is missing.

    Something is missing, or does not hold, in projects of an older version, after a change of seeds or of the
    tokenizer, after a rescue, and after a replay by stricter rules was applied.
    """
    # In this order: a worker stores candidate and coverage together, and may do so between the two queries.
    newest = db.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
    stored = _coverage(db, tokenizer)
    if stored.candidate_id < newest or not _holds(db, tokenizer, stored, _seeds(db), _rescued(db)):
        History(db, tokenizer, progress)


def load(db: Database, tokenizer: TokenizerName = "rouge", *, deciding: bool = False) -> Pairs:
    """All stored pairs, or those that can decide something. Call ``complete`` first."""
    seeds = "SELECT candidate_id, seed_id, score FROM seed_neighbours WHERE tokenizer = ?"
    others = "SELECT candidate_id, neighbour_id, score FROM candidate_neighbours WHERE tokenizer = ? AND decides >= ?"
    near_seeds = db.execute(seeds, [tokenizer]).fetchall()
    return Pairs(near_seeds, db.execute(others, [tokenizer, int(deciding)]).fetchall())


def certain(db: Database, tokenizer: TokenizerName = "rouge") -> set[int]:
    """The candidates that were taken for certain: the pairs serve replays whose other rules reject none of them."""
    query = "SELECT candidate_id FROM neighbour_bounds WHERE tokenizer = ? AND certain IS NOT NULL"
    return {candidate_id for (candidate_id,) in db.execute(query, [tokenizer])}


def _seeds(db: Database) -> list[tuple[int, str]]:
    return db.execute("SELECT id, instruction FROM current_seeds ORDER BY id").fetchall()


def _rescued(db: Database) -> list[int]:
    return [entry.id for entry in rescues.taken_in(db)]


def _hash(seeds: Sequence[tuple[int, str]], rescued: Sequence[int]) -> str:
    """Of what the pairs depend on besides the candidates: the seeds, and which candidates every replay keeps."""
    text = json.dumps([list(seed) for seed in seeds]) + (json.dumps(rescued) if rescued else "")
    return hashlib.sha256(text.encode()).hexdigest()


def _holds(
    db: Database, tokenizer: str, stored: _Coverage, seeds: Sequence[tuple[int, str]], rescued: Sequence[int]
) -> bool:
    if not stored.candidate_id:
        return True
    query = resources.query("neighbour_contradiction")
    return stored.seeds_hash == _hash(seeds, rescued) and not db.execute(query, {"tokenizer": tokenizer}).fetchone()[0]


def _coverage(db: Database, tokenizer: str) -> _Coverage:
    query = "SELECT candidate_id, seeds_hash FROM neighbour_coverage WHERE tokenizer = ? AND floor = ?"
    return _Coverage(*(db.execute(query, [tokenizer, DEFAULT_FLOOR]).fetchone() or ()))


def _set_coverage(db: Database, tokenizer: str, coverage: _Coverage) -> None:
    db.execute(
        "INSERT OR REPLACE INTO neighbour_coverage (tokenizer, floor, seeds_hash, candidate_id) VALUES (?, ?, ?, ?)",
        [tokenizer, DEFAULT_FLOOR, coverage.seeds_hash, coverage.candidate_id],
    )


def _insert(db: Database, tokenizer: str, found: Sequence[tuple[int, Found]]) -> None:
    pairs = [(candidate_id, *pair.key, pair) for candidate_id, one in found for pair in one.pairs]
    db.conn.executemany(
        "INSERT INTO seed_neighbours VALUES (?, ?, ?, ?)",
        [(tokenizer, number, other, pair.score) for number, kind, other, pair in pairs if kind == "seed"],
    )
    db.conn.executemany(
        "INSERT INTO candidate_neighbours VALUES (?, ?, ?, ?, ?)",
        [
            (tokenizer, number, other, pair.score, int(pair.decides))
            for number, kind, other, pair in pairs
            if kind == "candidate"
        ],
    )
    db.conn.executemany(
        "INSERT INTO neighbour_bounds VALUES (?, ?, ?, ?)",
        [(tokenizer, number, one.bounds.barred, one.bounds.certain) for number, one in found if one.bounds],
    )
