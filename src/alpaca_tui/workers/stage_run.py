"""What the stages of one run share: who is asked, with which pack, and how a call is made."""

from __future__ import annotations

import hashlib
from typing import Protocol

from sqlite_utils import Database

from alpaca_tui.core import pool, prompts
from alpaca_tui.core.records import Completion, Request, Stage
from alpaca_tui.store import completions
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.workers.screening import Screen

MAX_TRIES = 3
"""Calls about one candidate or sample that may fail for good before it goes on without an answer."""


def derive_seed(run_seed: int, queue: str, number: int, attempt: int = 0) -> int:
    """A 63-bit seed of its own for each call of a queue (``Call.queue``), the same in every repetition of the run."""
    again = f"/{attempt}" if attempt else ""
    digest = hashlib.sha256(f"{run_seed}/{queue}/{number}{again}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class StageWorker(Protocol):
    """One stage of generation."""

    def plan(self, limit: int) -> list[Call]:
        """At most ``limit`` calls from the stage's queue that no worker has taken; empty where there are none.

        All of them are for one model (``Call.model``) and from one template. Called in the transaction that takes the
        leases; a call that is not taken then is planned again.
        """
        ...

    def store(self, call: Call, completion: Completion) -> None:
        """Keep the answer and what was read from it, in one transaction: the caller's, where there is one."""
        ...


class Run:
    """What the stages of one run share. The pack carries the run's options, and with them its mode."""

    def __init__(
        self,
        db: Database,
        job_id: int,
        model: str,
        pack: prompts.Pack,
        seed: int,
        screen: Screen,
        output_model: str | None = None,
    ) -> None:
        self.db, self.job_id, self.model, self.pack, self.seed, self.screen = db, job_id, model, pack, seed, screen
        self.only_wanted = False
        """Set where the target is met: then only what a person flipped or rescued is still asked for."""
        self.output_model = output_model
        """Writes every output anew; None: the outputs of ``model`` stay."""
        with write(db):
            completions.ensure_pack(db, pack.hash, pack.name, pack.files)

    @property
    def faithful(self) -> bool:
        """Whether the known faults of the public codebases are wanted, and counted."""
        return self.pack.mode == "faithful"

    def call(
        self,
        stage: Stage,
        template: str,
        number: int,
        variables: dict[str, object],
        candidate_id: int | None = None,
        demonstrations: tuple[pool.PoolEntry, ...] = (),
        *,
        sample_id: int | None = None,
    ) -> Call:
        """The call whose prompt is ``template`` of the pack with ``variables``; another try has another seed."""
        prompt = self.pack.stage(template)
        subject = candidate_id if candidate_id is not None else sample_id
        tried = completions.failures(self.db, template, candidate_id, sample_id) if subject is not None else 0
        request = Request(
            prompts.render(self.pack, template, variables),
            self.pack.sampling(template),
            # Samples are numbered apart from candidates: their calls must not share seeds with those about these.
            derive_seed(self.seed, "output" if template == "output" else stage, number, tried),
            prompt.choices,
        )
        model = self.output_model if template == "output" and self.output_model else self.model
        return Call(
            self.job_id,
            stage,
            template,
            self.pack.hash,
            model,
            variables,
            request,
            candidate_id,
            demonstrations,
            sample_id,
            number,
        )

    def try_again(self, call: Call, completion: Completion) -> bool:
        """Keep a failed call for what it is and leave its queue as it is, so that it is asked again; else False.

        Mode ``faithful`` never asks again: the public codebases store an empty answer.
        """
        if completion.finish_reason != "error" or self.faithful:
            return False
        tried = completions.failures(self.db, call.template, call.candidate_id, call.sample_id) + 1
        if tried >= MAX_TRIES:
            return False
        with write(self.db):
            completions.record(self.db, call, completion, f"the call failed (try {tried} of {MAX_TRIES})")
        return True
