"""Blind comparisons of two evaluated models: what is judged next, the journal of judgements, what came of them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from sqlite_utils import Database

from alpaca_tui.core import answers, preference
from alpaca_tui.core.answers import Difference
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.preference import Tally, Verdict
from alpaca_tui.store import evaluations, suites
from alpaca_tui.store.database import now, write
from alpaca_tui.store.evaluations import EvaluationItem, EvaluationRow
from alpaca_tui.store.suites import SuiteTask


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of the journal; ``verdict`` is on the sides as they were shown."""

    id: int
    position: int
    first_is_left: bool
    verdict: Verdict
    after_reveal: bool


@dataclass(frozen=True, slots=True)
class Blind:
    """A task to be judged: nothing here says which model wrote what."""

    position: int
    task: SuiteTask
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the judgements say so far. ``left`` tasks await judgement, on ``same`` both wrote the same.

    ``after_reveal`` of the judgements were made after the result had been looked at.
    """

    first: str
    second: str
    tally: Tally
    left: int
    same: int
    after_reveal: int


class Comparison:
    """Two evaluations of one suite, the older one first; their answers are read once."""

    def __init__(self, db: Database, first: EvaluationRow, second: EvaluationRow, row: dict) -> None:
        self.first, self.second = first, second
        self._db = db
        self.id: int = row["id"]
        self.seed: int = row["seed"]

    @cached_property
    def tasks(self) -> dict[int, SuiteTask]:
        """The tasks that both have answered, by position."""
        both = self.answers[0].keys() & self.answers[1].keys()
        return {task.position: task for task in suites.tasks(self._db, self.first.suite_id) if task.position in both}

    @cached_property
    def answers(self) -> tuple[dict[int, EvaluationItem], dict[int, EvaluationItem]]:
        """(first model's answers, second model's), by position."""
        return evaluations.items(self._db, self.first.id), evaluations.items(self._db, self.second.id)

    @cached_property
    def order(self) -> list[int]:
        """The positions to judge, shuffled by the seed: those where the two wrote different texts."""
        first, second = self.answers
        differ = [p for p in self.tasks if first[p].output != second[p].output]
        return preference.presentation(self.seed, differ)

    @property
    def revealed(self) -> bool:
        """Whether somebody has looked at the result."""
        row = self._db.execute("SELECT revealed_at FROM comparisons WHERE id = ?", [self.id]).fetchone()
        return row[0] is not None

    def judgements(self) -> list[Judgement]:
        """The judgements that hold, oldest first."""
        rows = self._db["judgements"].rows_where("comparison_id = ? AND undone_at IS NULL", [self.id], order_by="id")
        return [_judgement(r) for r in rows]

    def waiting(self) -> list[int]:
        """The positions that nobody has judged yet, in the order of judging."""
        judged = {j.position for j in self.judgements()}
        return [p for p in self.order if p not in judged]

    def blind(self, position: int) -> Blind:
        """The task with the two answers, left and right as the seed says."""
        one, two = (items[position].output for items in self.answers)
        left, right = (one, two) if preference.sides(self.seed, position) else (two, one)
        return Blind(position, self.tasks[position], left, right)

    def judge(self, position: int, verdict: Verdict) -> None:
        """Write a judgement down; it ends redo. Raises UsageError where the task was judged already, or is none."""
        if position not in self.order:
            raise UsageError(f"task {position} is not up for judging")
        if verdict not in preference.VERDICTS:
            raise UsageError(f"unknown verdict {verdict!r}; use {', '.join(preference.VERDICTS)}")
        db = self._db
        with write(db):
            if position in {j.position for j in self.judgements()}:
                raise UsageError(f"task {position} was judged meanwhile, in another window")
            db.execute(
                "UPDATE judgements SET superseded = 1 "
                "WHERE comparison_id = ? AND undone_at IS NOT NULL AND superseded = 0",
                [self.id],
            )
            db["judgements"].insert(
                {
                    "comparison_id": self.id,
                    "position": position,
                    "first_is_left": int(preference.sides(self.seed, position)),
                    "verdict": verdict,
                    "after_reveal": int(self.revealed),
                    "judged_at": now(),
                }
            )

    def undo(self) -> Judgement | None:
        """Take back the latest judgement; None where there is none."""
        return self._flip("undone_at IS NULL", "id DESC", now())

    def redo(self) -> Judgement | None:
        """Make again the judgement that was undone last; None where there is none."""
        # Undo goes backwards through the journal, so the next to redo is the oldest undone one.
        return self._flip("undone_at IS NOT NULL AND superseded = 0", "id", None)

    def _flip(self, which: str, order: str, undone_at: float | None) -> Judgement | None:
        db = self._db
        with write(db):
            where = f"comparison_id = ? AND {which}"
            row = next(iter(db["judgements"].rows_where(where, [self.id], order_by=order, limit=1)), None)
            if row is None:
                return None
            db["judgements"].update(row["id"], {"undone_at": undone_at})
        return _judgement(row)

    def reveal(self) -> Standing:
        """The result so far, with the names; that it was looked at is kept. Raises UsageError before a judgement."""
        if not self.judgements() and self.order:
            raise UsageError("nothing is judged yet; the result is shown after the first judgement")
        with write(self._db):
            self._db.execute(
                "UPDATE comparisons SET revealed_at = ? WHERE id = ? AND revealed_at IS NULL", [now(), self.id]
            )
        return self.standing()

    def standing(self) -> Standing:
        """What the judgements say so far."""
        made = self.judgements()
        votes = Counter(preference.winner(j.verdict, j.first_is_left) for j in made)
        tally = Tally(votes["first"], votes["second"], votes["tie"], votes["both_bad"])
        return Standing(
            self.first.model,
            self.second.model,
            tally,
            left=len(self.order) - len(made),
            same=len(self.tasks) - len(self.order),
            after_reveal=sum(j.after_reveal for j in made),
        )


class Sitting:
    """One person judging: which task is shown, and what was skipped for now. Everything else is in the store."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._skipped: set[int] = set()
        self._position: int | None = None
        self.forward()

    @property
    def current(self) -> Blind | None:
        """The task to judge; None where none is left."""
        return None if self._position is None else self.comparison.blind(self._position)

    def forward(self) -> None:
        """Go to the first task in order that is neither judged nor skipped; skipped ones come again at the end."""
        waiting = self.comparison.waiting()
        fresh = [p for p in waiting if p not in self._skipped]
        if not fresh:
            self._skipped.clear()
        self._position = next(iter(fresh or waiting), None)

    def judge(self, verdict: Verdict) -> int:
        """Write the judgement down and go on; return the position of what was judged.

        Raises UsageError where there is nothing to judge, or where another window was faster; that goes on, too.
        """
        judged = self._position
        if judged is None:
            raise UsageError("there is no task to judge")
        try:
            self.comparison.judge(judged, verdict)
        except UsageError:
            self.forward()
            raise
        self.forward()
        return judged

    def skip(self) -> None:
        """Go on without a judgement."""
        if self._position is not None:
            self._skipped.add(self._position)
            self.forward()

    def undo(self) -> bool:
        """Take back the latest judgement and show its task, blind as before; False where there is none."""
        taken = self.comparison.undo()
        if taken is not None:
            self._position = taken.position
        return taken is not None

    def redo(self) -> bool:
        """Make again what was undone last and go on; False where there is nothing."""
        made = self.comparison.redo()
        if made is not None:
            self.forward()
        return made is not None


def open_comparison(db: Database, one: EvaluationRow, other: EvaluationRow, *, seed: int | None = None) -> Comparison:
    """The comparison of two evaluations, made where it is new; ``seed`` (else a random one) is for a new one only.

    Raises UsageError where they are not of one suite, AlpacaError where the two models were not asked alike.
    """
    first, second = sorted((one, other), key=lambda row: row.id)
    _check_asked_alike(db, first, second)
    with write(db):
        where, args = "first_id = ? AND second_id = ?", [first.id, second.id]
        if not db["comparisons"].count_where(where, args):
            chosen = random.SystemRandom().getrandbits(32) if seed is None else seed
            db["comparisons"].insert(
                {"first_id": first.id, "second_id": second.id, "seed": chosen, "created_at": now()}
            )
        row = next(iter(db["comparisons"].rows_where(where, args)))
    return Comparison(db, first, second, row)


def find_comparison(db: Database, one: EvaluationRow, other: EvaluationRow) -> Comparison | None:
    """The comparison of two evaluations where somebody has begun one; writes nothing."""
    first, second = sorted((one, other), key=lambda row: row.id)
    rows = db["comparisons"].rows_where("first_id = ? AND second_id = ?", [first.id, second.id])
    return next((Comparison(db, first, second, row) for row in rows), None)


def differences(db: Database, first: EvaluationRow, second: EvaluationRow) -> list[Difference]:
    """Every metric of the two over the tasks that both answered: the second minus the first.

    Raises as ``open_comparison``.
    """
    _check_asked_alike(db, first, second)
    one, two = ({p: i.score for p, i in evaluations.items(db, row.id).items()} for row in (first, second))
    return answers.differences(one, two, evaluations.losses(db, first.id), evaluations.losses(db, second.id))


def _check_asked_alike(db: Database, first: EvaluationRow, second: EvaluationRow) -> None:
    if first.suite_id != second.suite_id or first.id == second.id:
        raise UsageError(f"{first.model} and {second.model} were not scored on the same tasks; evaluate them together")
    different = db.execute(
        "SELECT count(*) FROM evaluation_answers a JOIN evaluation_answers b ON b.position = a.position "
        "WHERE a.evaluation_id = ? AND b.evaluation_id = ? AND a.prompt_hash <> b.prompt_hash",
        [first.id, second.id],
    ).fetchone()[0]
    if different:
        raise AlpacaError(
            f"{first.model} and {second.model} were asked {different} tasks in other words (the prompt pack has "
            f"changed between them); evaluate them together: "
            f"alpaca-tui evaluate --model {first.model} --model {second.model}"
        )


def _judgement(r: dict) -> Judgement:
    verdict = cast(Verdict, r["verdict"])
    return Judgement(r["id"], r["position"], bool(r["first_is_left"]), verdict, bool(r["after_reveal"]))
