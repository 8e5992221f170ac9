"""The generation worker: ``python -m alpaca_tui.workers.generate --project DIR --job N``."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from alpaca_tui import config
from alpaca_tui.backends.base import Backend
from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.core.records import Completion
from alpaca_tui.jobs.live import LiveSnapshot, Slot
from alpaca_tui.jobs.packcheck import run_pack
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import candidates, completions, outputs, overview, samples
from alpaca_tui.store import jobs as job_store
from alpaca_tui.store.completions import Call
from alpaca_tui.workers.backends import Backends, together
from alpaca_tui.workers.base import WorkerContext, worker_main
from alpaca_tui.workers.screening import Screen
from alpaca_tui.workers.stages import InstanceStage, InstructionStage, OutputStage, Run, StageWorker, TaskStage, stages

BARREN_LIMIT = 24
"""Instruction calls in a row without a single kept candidate after which the run gives up."""

BARREN_INSTANCE_LIMIT = 96
"""Instance (or output) calls in a row without a single sample to review after which the run gives up."""

YIELD_GUESS = 4.0
"""Samples that one instruction call leads to, before the run has seen any."""

RATE_WINDOW_S = 60.0


class Display:
    """The text in flight and the rates, written as the worker's live snapshot."""

    def __init__(self, context: WorkerContext, target: int) -> None:
        self._live, self._db, self._target = context.live, context.db, target
        self._ready_at_start = ready(context)
        self._began = time.monotonic()
        self._slots: dict[int, Slot] = {}
        self._calls: Sequence[Call] = ()
        self._finished: deque[tuple[float, int]] = deque()
        self._ready = self._ready_at_start

    def begin(self, calls: Sequence[Call]) -> None:
        """A new batch is about to be asked."""
        self._calls, self._slots = calls, {}

    def text(self, index: int, text: str, tokens: int) -> None:
        """The text of one call so far."""
        call = self._calls[index]
        label = f"candidate {call.candidate_id}" if call.candidate_id else "new instructions"
        self._slots[index] = Slot(label, call.template, text, tokens)
        if self._live.due():
            self._live.write(self._snapshot())

    def done(self, index: int, completion: Completion, ready_now: int) -> None:
        """One call has been answered and stored."""
        self._slots.pop(index, None)
        self._finished.append((time.monotonic(), completion.completion_tokens))
        self._ready = ready_now

    def say(self, activity: str) -> None:
        """Show what is being done besides generating."""
        self._live.write(LiveSnapshot(time.time(), activity, self._progress()), force=True)

    def _progress(self) -> float:
        return min(1.0, self._ready / self._target)

    def _snapshot(self) -> LiveSnapshot:
        now = time.monotonic()
        while self._finished and self._finished[0][0] < now - RATE_WINDOW_S:
            self._finished.popleft()
        span = min(RATE_WINDOW_S, now - self._began)
        tokens = sum(n for _, n in self._finished) + sum(slot.tokens for slot in self._slots.values())
        made = self._ready - self._ready_at_start
        eta = (now - self._began) / made * max(0, self._target - self._ready) if made else None
        slots = tuple(self._slots[i] for i in sorted(self._slots))
        stage = self._calls[0].template if self._calls else ""
        return LiveSnapshot(
            time.time(),
            f"{stage.replace('_', ' ')}: {len(slots)} in flight",
            self._progress(),
            tokens / span if span > 1 else None,
            eta,
            slots,
        )


def ready(context: WorkerContext) -> int:
    """Samples that are pending or accepted: what the target counts."""
    counts = samples.counts(context.db)
    return counts["pending"] + counts["accepted"]


class Generation:
    """One run: takes the stages in turn until the target is met, a stop is asked for, or nothing new comes."""

    def __init__(self, context: WorkerContext, spec: GenerateSpec) -> None:
        self._context, self._spec = context, spec
        self._display = Display(context, spec.target)
        self._began = time.monotonic()

    def run(self) -> None:
        """Raises Cancelled after a stop request, AlpacaError where the model gives nothing usable."""
        context, spec = self._context, self._spec
        settings = config.load(context.project)
        pack = run_pack(context.project, spec.recipe, spec.options)
        self._display.say("reading what is known")
        screen = Screen(context.db, spec.threshold, settings.rules)
        run = Run(context.db, context.job.id, spec.model, pack, spec.seed, screen, spec.output_model)
        backends = Backends(spec.batch, lambda model: self._display.say(f"loading {model}"))
        try:
            if spec.regenerate:
                self._regenerate(backends, OutputStage(run, regenerate=True))
            else:
                self._generate(backends, stages(run, self._outputs_due()))
        finally:
            backends.close()
            job_store.set_result(context.db, context.job.id, self._result())

    def _generate(self, backends: Backends, order: Sequence[StageWorker]) -> None:
        barren = barren_instances = 0
        while ready(self._context) < self._spec.target:
            stage, calls = self._next(order)
            before = self._fruit(stage)
            self._ask(backends.get(calls[0].model), stage, calls)
            grown = self._fruit(stage) > before
            if isinstance(stage, InstructionStage):
                barren = 0 if grown else barren + len(calls)
            elif isinstance(stage, InstanceStage | OutputStage):
                barren_instances = 0 if grown else barren_instances + len(calls)
            if barren >= BARREN_LIMIT or barren_instances >= BARREN_INSTANCE_LIMIT:
                raise self._exhausted(barren, barren_instances)

    def _fruit(self, stage: StageWorker) -> int:
        """What a stage's answers should make more of."""
        db = self._context.db
        if isinstance(stage, InstructionStage) and not isinstance(stage, TaskStage):
            return candidates.count_kept(db)
        return ready(self._context) + (0 if isinstance(stage, OutputStage) else outputs.count_waiting(db))

    def _outputs_due(self) -> Callable[[], bool]:
        """When to ask the output model: at once, or, where it takes the other's place, for all that are missing."""
        spec = self._spec
        if spec.output_model is None or spec.output_model == spec.model or together(spec.model, spec.output_model):
            return lambda: True
        return lambda: ready(self._context) + outputs.count_waiting(self._context.db) >= spec.target

    def _regenerate(self, backends: Backends, stage: OutputStage) -> None:
        """Every pending sample's output anew; the job is done when none is left to ask for."""
        while calls := stage.plan(self._spec.batch):
            self._ask(backends.get(calls[0].model), stage, calls)

    def _next(self, order: Sequence[StageWorker]) -> tuple[StageWorker, list[Call]]:
        for stage in order[:-1]:
            calls = stage.plan(self._spec.batch)
            if calls:
                return stage, calls
        return order[-1], order[-1].plan(self._instruction_calls())

    def _instruction_calls(self) -> int:
        """How many instruction prompts the missing samples are likely to take, from the yield so far."""
        funnel = overview.funnel(self._context.db)
        made = funnel.samples - sum(funnel.filtered.values())
        seen = funnel.completions >= 4 and made > 0
        per_call = made / funnel.completions if seen else YIELD_GUESS
        missing = self._spec.target - ready(self._context) - outputs.count_waiting(self._context.db)
        return max(1, min(self._spec.batch, round(missing / per_call)))

    def _ask(self, backend: Backend, stage: StageWorker, calls: list[Call]) -> None:
        if self._context.stopping():
            raise Cancelled
        self._display.begin(calls)

        def done(index: int, completion: Completion) -> None:
            stage.store(calls[index], completion)
            self._display.done(index, completion, ready(self._context))

        requests = [call.request for call in calls]
        backend.complete(requests, self._display.text, self._context.stopping, on_done=done)

    def _exhausted(self, barren: int, barren_instances: int) -> AlpacaError:
        funnel = overview.funnel(self._context.db)
        if barren >= BARREN_LIMIT:
            what, counts = f"{barren} instruction prompts gave no new instruction", funnel.rejected
        else:
            what, counts = f"{barren_instances} instance prompts gave no sample to review", funnel.filtered
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
            "samples": ready(context),
            "loops": totals["loops"],
        } | ({"faults": completions.faults(context.db, context.job.id)} if spec.options.mode == "faithful" else {})


def run(context: WorkerContext) -> None:
    """Carry out the job's spec."""
    Generation(context, GenerateSpec.model_validate(context.job.spec)).run()


if __name__ == "__main__":
    sys.exit(worker_main(run))
