"""The pairs of alike candidates as stored: written while filtering, completed where something is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from sqlite_utils import Database

from alpaca_tui import resources
from alpaca_tui.core.neighbours import Pair, PairFinder, Pairs
from alpaca_tui.core.novelty import DEFAULT_FLOOR, NoveltyIndex
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store.database import write

_CHUNK = 500

Progress = Callable[[int, int], None]
"""Told (candidates done, candidates in all)."""


def _quiet(done: int, total: int) -> None:
    pass


class History:
    """Seeds and every candidate so far, as the filter meets them; ``note`` each new candidate.

    Opening it completes the pairs of candidates that were stored without it.
    """

    def __init__(self, db: Database, tokenizer: TokenizerName = "rouge", progress: Progress = _quiet) -> None:
        self._db, self._tokenizer = db, tokenizer
        seeds = _seeds(db)
        self._seeds_hash = _hash(seeds)
        self._finder = PairFinder(seeds, tokenizer)
        covered, seeds_hash = _coverage(db, tokenizer)
        firsts = _firsts(db, tokenizer, covered)
        if covered and seeds_hash != self._seeds_hash:
            _renew_seed_pairs(db, tokenizer, seeds, firsts, covered)
        self._finder.know(firsts)
        self._complete(covered, progress)

    def note(self, candidate_id: int, text: str) -> None:
        """Find and store the candidate's pairs, in the caller's transaction; it is known from now on."""
        _insert(self._db, self._tokenizer, candidate_id, self._finder.find(candidate_id, text))
        _set_coverage(self._db, self._tokenizer, self._seeds_hash, candidate_id)

    def _complete(self, covered: int, progress: Progress) -> None:
        query = "SELECT id, instruction FROM candidates WHERE id > ? ORDER BY id"
        rows = self._db.execute(query, [covered]).fetchall()
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            found = [(candidate_id, self._finder.find(candidate_id, text)) for candidate_id, text in chunk]
            with write(self._db):
                for candidate_id, pairs in found:
                    # Another process may have noted the candidate meanwhile, with seeds of another wording.
                    _forget_seed_pairs(self._db, self._tokenizer, candidate_id, candidate_id)
                    _insert(self._db, self._tokenizer, candidate_id, pairs)
                _set_coverage(self._db, self._tokenizer, self._seeds_hash, chunk[-1][0])
            progress(start + len(chunk), len(rows))


def complete(db: Database, tokenizer: TokenizerName = "rouge", progress: Progress = _quiet) -> None:
    """Bring the pairs up to date with today's candidates and seeds; a look into two tables where nothing is missing.

    Something is missing in projects of an older version, after a change of seeds or of the tokenizer.
    """
    covered, seeds_hash = _coverage(db, tokenizer)
    newest = db.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
    if covered < newest or (covered and seeds_hash != _hash(_seeds(db))):
        History(db, tokenizer, progress)


def load(db: Database, tokenizer: TokenizerName = "rouge") -> Pairs:
    """All stored pairs. Call ``complete`` first."""
    return Pairs(
        db.execute(
            "SELECT candidate_id, seed_id, score FROM seed_neighbours WHERE tokenizer = ?", [tokenizer]
        ).fetchall(),
        db.execute(
            "SELECT candidate_id, neighbour_id, score FROM candidate_neighbours WHERE tokenizer = ?", [tokenizer]
        ).fetchall(),
    )


def _seeds(db: Database) -> list[tuple[int, str]]:
    return db.execute("SELECT id, instruction FROM current_seeds ORDER BY id").fetchall()


def _hash(seeds: Sequence[tuple[int, str]]) -> str:
    return hashlib.sha256(json.dumps([list(seed) for seed in seeds]).encode()).hexdigest()


def _coverage(db: Database, tokenizer: str) -> tuple[int, str]:
    query = "SELECT candidate_id, seeds_hash FROM neighbour_coverage WHERE tokenizer = ? AND floor = ?"
    return db.execute(query, [tokenizer, DEFAULT_FLOOR]).fetchone() or (0, "")


def _set_coverage(db: Database, tokenizer: str, seeds_hash: str, candidate_id: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO neighbour_coverage (tokenizer, floor, seeds_hash, candidate_id) VALUES (?, ?, ?, ?)",
        [tokenizer, DEFAULT_FLOOR, seeds_hash, candidate_id],
    )


def _firsts(db: Database, tokenizer: str, covered: int) -> list[tuple[int, str]]:
    """The covered candidates that are the first of their tokens."""
    query = resources.query("first_of_their_tokens")
    return db.execute(query, {"tokenizer": tokenizer, "covered": covered}).fetchall()


def _insert(db: Database, tokenizer: str, candidate_id: int, pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        kind, other = pair.key
        table = "seed_neighbours" if kind == "seed" else "candidate_neighbours"
        db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", [tokenizer, candidate_id, other, pair.score])


def _forget_seed_pairs(db: Database, tokenizer: str, first: int, last: int) -> None:
    db.execute(
        "DELETE FROM seed_neighbours WHERE tokenizer = ? AND candidate_id BETWEEN ? AND ?", [tokenizer, first, last]
    )


def _renew_seed_pairs(
    db: Database,
    tokenizer: TokenizerName,
    seeds: Sequence[tuple[int, str]],
    firsts: Sequence[tuple[int, str]],
    covered: int,
) -> None:
    """Find the covered candidates' pairs with the seeds anew: a seed was added, or has another wording."""
    index = NoveltyIndex(tokenizer)
    index.extend(firsts)
    rows = [(tokenizer, match.key, seed_id, match.score) for seed_id, text in seeds for match in index.neighbours(text)]
    with write(db):
        _forget_seed_pairs(db, tokenizer, 0, covered)
        db.conn.executemany("INSERT INTO seed_neighbours VALUES (?, ?, ?, ?)", rows)
        # If a worker has gone on meanwhile, with the old seeds, then the old hash stays and this is done again.
        db.execute(
            "UPDATE neighbour_coverage SET seeds_hash = ? WHERE tokenizer = ? AND candidate_id = ?",
            [_hash(seeds), tokenizer, covered],
        )
