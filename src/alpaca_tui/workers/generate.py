"""The generation worker: ``python -m alpaca_tui.workers.generate --project DIR --job N``.

Several may work on one job, each with its own ``RANK``: what each of them asks is leased from the store.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from alpaca_tui import config
from alpaca_tui.backends.base import Backend
from alpaca_tui.core import estimates
from alpaca_tui.core.budget import Ledger
from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.core.records import Completion, Request
from alpaca_tui.jobs.packcheck import run_pack
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import candidates, completions, costs, leases, outputs, overview, wanted
from alpaca_tui.store import jobs as job_store
from alpaca_tui.store.completions import Call
from alpaca_tui.store.tallies import Tally
from alpaca_tui.workers.backends import Backends, together
from alpaca_tui.workers.base import WorkerContext, worker_main
from alpaca_tui.workers.desk import Desk, Taken
from alpaca_tui.workers.display import Display
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import (
    ClassificationStage,
    InstanceStage,
    InstructionStage,
    OutputStage,
    Run,
    StageWorker,
    TaskStage,
    stages,
)

BARREN_LIMIT = 24
"""Instruction calls in a row without a single kept candidate after which the run gives up."""

BARREN_INSTANCE_LIMIT = 96
"""Instance calls in a row without a single sample to review after which the run gives up."""

PASS_CALLS = 2_000
"""Calls after which a pass is let run dry and a new one begun: a backend keeps what it was asked until it ends."""

_IDLE_S = 0.2
_LOOK_EVERY_S = 1.0


class Prospects:
    """How far the job is, over all its workers, and how it will go on."""

    def __init__(self, context: WorkerContext, spec: GenerateSpec, run: Run) -> None:
        self._db, self._spec = context.db, spec
        self._tally = Tally(context.db, context.job.id)
        self._tally.refresh()
        self._whole = run.pack.stage("instruction").style == "tasks"
        self._began = time.monotonic()
        self._row_seconds_before = self._row_seconds()
        self._looked = 0.0

    def ready(self) -> int:
        """Samples that are pending or accepted: what the target counts."""
        return overview.ready(self._db)

    def wanted_calls(self, batch: int) -> int:
        """How many instruction calls to begin now, those that any worker has taken left out; 0: others see to it."""
        taken = leases.counts(self._db)
        wanted = math.ceil(estimates.instruction_calls(self._tally.refresh(), self._work()))
        free = wanted - taken.get("instruction", 0)
        return min(batch, free) if taken else max(1, min(batch, free))

    def show(self, display: Display, *, force: bool = False) -> None:
        """Tell the display, at most every ``_LOOK_EVERY_S``."""
        now = time.monotonic()
        if not force and now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        stats = self._tally.refresh()
        span = now - self._began
        concurrency = (self._row_seconds() - self._row_seconds_before) / span if span > 0 else 0.0
        outlook = None if self._spec.regenerate else estimates.outlook(stats, self._work(), concurrency)
        yields = {name: round(s.made / s.calls, 3) for name, s in stats.items() if s.calls and name != "classification"}
        display.know(self.ready(), outlook, yields)

    def _row_seconds(self) -> float:
        return sum(stage.seconds for stage in self._tally.stages.values())

    def _work(self) -> estimates.Work:
        waiting = candidates.count_waiting(self._db) | {"output": outputs.count_waiting(self._db)}
        missing = max(0, self._spec.target - self.ready())
        return estimates.Work(missing, waiting, self._whole, self._spec.output_model is not None)


class Generation:
    """One worker's part of a run: stages in turn until the target is met, a stop is asked for, or nothing new comes."""

    def __init__(self, context: WorkerContext, spec: GenerateSpec) -> None:
        self._context, self._spec = context, spec
        self._display = Display(context.live, spec.target)
        self._began = time.monotonic()
        self._barren = self._barren_instances = 0

    def run(self) -> None:
        """Raises Cancelled after a stop request, AlpacaError where the model gives nothing usable."""
        context, spec = self._context, self._spec
        settings = config.load(context.project)
        pack = run_pack(context.project, spec.recipe, spec.options)
        self._display.say("reading what is known")
        self._screen = Screen(context.db, spec.threshold, settings.rules, self._display.say)
        self._desk = Desk(context, self._screen)
        self._run = Run(context.db, context.job.id, spec.model, pack, spec.seed, self._screen, spec.output_model)
        self._order = self._stages(self._run)
        ledger = Ledger(spec.budget, costs.spent(context.db, context.job.id) or 0.0)
        backends = Backends(spec.batch, lambda model: self._display.say(f"loading {model}"), context.project, ledger)
        try:
            # Loaded before the first lease is taken and before the clock of the estimates runs.
            first = backends.get(spec.output_model if spec.regenerate and spec.output_model else spec.model)
            self._batch = first.max_batch
            self._prospects = Prospects(context, spec, self._run)
            self._prospects.show(self._display)
            self._generate(backends)
        finally:
            backends.close()
            self._desk.close()
            job_store.set_result(context.db, context.job.id, self._result())

    def _stages(self, run: Run) -> Sequence[StageWorker]:
        """Last one first. The output model is asked at once, or, where it takes the other's place, for all missing."""
        spec = self._spec
        if spec.regenerate:
            return [OutputStage(run, regenerate=True)]
        if spec.output_model in (None, spec.model) or together(spec.model, str(spec.output_model)):
            return stages(run)
        db = self._context.db
        return stages(run, lambda: overview.ready(db) + outputs.count_waiting(db) >= spec.target)

    def _generate(self, backends: Backends) -> None:
        while not self._reached():
            if self._context.stopping():
                raise Cancelled
            taken = self._desk.take(lambda: self._plan(None))
            if taken:
                self._ask(backends.get(taken[0].call.model), taken)
            elif self._spec.regenerate or self._met():
                return
            else:
                self._display.say("waiting for what other workers have in hand")
                time.sleep(_IDLE_S)

    def _met(self) -> bool:
        return not self._spec.regenerate and self._prospects.ready() >= self._spec.target

    def _reached(self) -> bool:
        """The target is met, and what a person flipped or rescued is in hand: somebody waits for that all the same."""
        if not self._met():
            return False
        listed = any(isinstance(stage, InstanceStage) for stage in self._order)
        outputs_too = self._spec.output_model is not None
        return wanted.count_waiting(self._context.db, instances=listed, outputs=outputs_too) == 0

    def _plan(self, model: str | None, limit: int | None = None) -> tuple[StageWorker, list[Call]]:
        """The next calls of one stage, at most ``limit``, for ``model`` if given: what is begun is finished first."""
        most = limit or self._batch
        self._run.only_wanted = self._met()
        for stage in self._order:
            inventing = isinstance(stage, InstructionStage)
            if inventing and self._run.only_wanted:
                break
            room = min(most, self._prospects.wanted_calls(most)) if inventing else most
            calls = stage.plan(room) if room > 0 else []
            if calls and model in (None, calls[0].model):
                return stage, calls
        return self._order[-1], []

    def _ask(self, backend: Backend, first: list[Taken]) -> None:
        """One pass of the backend, refilled as long as there is something to ask and the target is not met."""
        flight = list(first)
        self._display.begin()
        self._display.add([taken.call for taken in first])

        def done(index: int, completion: Completion) -> None:
            taken = flight[index]
            before = self._screen.kept_instructions, self._screen.kept_instances
            if self._desk.store(taken, completion):
                self._count(taken.stage, before)
            self._display.done(index, completion)
            self._prospects.show(self._display)

        def more(places: int) -> list[Request]:
            if len(flight) >= PASS_CALLS or self._fruitless() or self._reached():
                return []
            new = self._desk.take(lambda: self._plan(flight[0].call.model, places))
            flight.extend(new)
            self._display.add([taken.call for taken in new])
            return [taken.call.request for taken in new]

        def cancelled() -> bool:
            self._desk.renew()
            return self._context.stopping()

        requests = [taken.call.request for taken in first]
        backend.complete(requests, self._display.text, cancelled, on_done=done, more=more)
        if self._fruitless():
            raise self._exhausted()

    def _count(self, stage: StageWorker, before: tuple[int, int]) -> None:
        """Whether the answer that was just stored brought anything."""
        instructions, instances = self._screen.kept_instructions, self._screen.kept_instances
        if isinstance(stage, InstructionStage):
            grown = instances > before[1] if isinstance(stage, TaskStage) else instructions > before[0]
            self._barren = 0 if grown else self._barren + 1
        elif not isinstance(stage, ClassificationStage):
            self._barren_instances = 0 if instances > before[1] else self._barren_instances + 1

    def _fruitless(self) -> bool:
        spent = self._barren >= BARREN_LIMIT or self._barren_instances >= BARREN_INSTANCE_LIMIT
        return spent and not self._spec.regenerate

    def _exhausted(self) -> AlpacaError:
        funnel = overview.funnel(self._context.db)
        if self._barren >= BARREN_LIMIT:
            what, counts = f"{self._barren} instruction prompts gave no new instruction", funnel.rejected
        else:
            what, counts = f"{self._barren_instances} instance prompts gave no sample to review", funnel.filtered
        rules = ", ".join(f"{rule} {n}" for rule, n in list(counts.items())[:3]) or "nothing could be parsed"
        return AlpacaError(
            f"the last {what} (rejected so far: {rules}); "
            "look at the rejected ones in the Filters screen, raise the threshold or use another model"
        )

    def _result(self) -> dict[str, Any]:
        context, spec = self._context, self._spec
        totals = completions.totals(context.db, context.job.id)
        funnel = overview.funnel(context.db)
        seconds = time.monotonic() - self._began + (context.job.result or {}).get("seconds", 0.0)
        return {
            "completions": totals["completions"],
            "tokens": totals["tokens"],
            "seconds": round(seconds, 1),
            "candidates": funnel.candidates,
            "kept": funnel.kept,
            "samples": overview.ready(context.db),
            "loops": totals["loops"],
            "cost": costs.spent(context.db, context.job.id),
        } | ({"faults": completions.faults(context.db, context.job.id)} if spec.options.mode == "faithful" else {})


def run(context: WorkerContext) -> None:
    """Carry out the job's spec."""
    Generation(context, GenerateSpec.model_validate(context.job.spec)).run()


if __name__ == "__main__":
    sys.exit(worker_main(run))
