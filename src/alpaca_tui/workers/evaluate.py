"""The evaluation worker: every model answers the same held-out tasks, greedily, and is scored the same way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from alpaca_tui import resources
from alpaca_tui.core import rouge, scoring
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.jobs import models
from alpaca_tui.jobs.live import LiveSnapshot, Slot
from alpaca_tui.jobs.specs import EvaluateSpec
from alpaca_tui.store import datasets, evaluations
from alpaca_tui.store import jobs as job_store
from alpaca_tui.store.datasets import Example
from alpaca_tui.store.evaluations import EvaluationItem
from alpaca_tui.training.evaluate import held_out_loss
from alpaca_tui.workers.base import WorkerContext, worker_main
from alpaca_tui.workers.examples import TRAINING_PACK, training_examples
from alpaca_tui.workers.models import tuned

BATCH = 8


class Evaluation:
    """Scores the models of one job in turn; a model that is scored already (before a resume) is not scored again."""

    def __init__(self, context: WorkerContext, spec: EvaluateSpec) -> None:
        self._context, self._spec = context, spec
        self._dataset = datasets.get(context.db, spec.dataset)
        self._rows = datasets.examples(context.db, self._dataset.id, "held_out")[: spec.limit]
        if not self._rows:
            raise UsageError(
                f"the data set {spec.dataset} holds nothing out; freeze one with: "
                "alpaca-tui dataset freeze NAME --held-out 0.1"
            )
        pack = resources.read_pack(TRAINING_PACK, context.project / "prompts")
        self._examples = training_examples(pack, self._rows)
        self._done = 0

    def run(self) -> None:
        """Raises Cancelled after a stop request."""
        context, spec = self._context, self._spec
        scored = {e.model: e.metrics for e in evaluations.all_evaluations(context.db, context.job.id)}
        for spec_of_model in spec.models:
            if spec_of_model not in scored:
                scored[spec_of_model] = self._score(spec_of_model)
            self._done += 1
        value = {"suite": f"{spec.dataset}/held_out", "models": scored}
        job_store.set_result(context.db, context.job.id, value)

    def _score(self, spec: str) -> dict[str, float]:
        base, adapter = tuned(self._context.db, spec)
        ref = models.resolve(base)
        if ref.path is None:
            raise UsageError(f"{spec} is an endpoint; this version evaluates local models only")
        models.check(ref.path)
        self._show(f"{spec}: held-out loss", 0.0)
        loss = held_out_loss(ref.path, adapter or ref.adapter, self._examples, should_stop=self._context.stopping)
        outputs = self._answer(spec, ref.path, adapter or ref.adapter)
        items = [
            EvaluationItem(row.position, output, rouge.rouge_l_text(row.output, output))
            for row, output in zip(self._rows, outputs, strict=True)
        ]
        overlap = scoring.bootstrap_mean([item.rouge_l for item in items])
        metrics = {
            "held_out_loss": loss.loss,
            "rouge_l": overlap.mean,
            "rouge_l_low": overlap.low,
            "rouge_l_high": overlap.high,
            "items": float(len(items)),
        }
        suite = f"{self._spec.dataset}/held_out"
        evaluations.record(self._context.db, self._context.job.id, self._dataset.id, suite, spec, metrics, items)
        print(f"{spec}: held-out loss {loss.loss:.3f}, ROUGE-L {overlap.mean:.3f} over {len(items)} tasks", flush=True)
        return metrics

    def _answer(self, spec: str, path: Path, adapter: Path | None) -> list[str]:
        from alpaca_tui.backends.local import LocalBackend

        self._show(f"{spec}: loading", 0.2)
        backend = LocalBackend(path, max_batch=BATCH, adapter=adapter)
        params = SamplingParams(max_new_tokens=self._spec.max_new_tokens)
        requests = [Request(example.prompt, params, seed=0) for example in self._examples]
        slots: dict[int, Slot] = {}

        def show(index: int, text: str, tokens: int) -> None:
            slots[index] = Slot(label(self._rows[index]), "answer", text, tokens)
            self._show(f"{spec}: answering", 0.5, tuple(slots[i] for i in sorted(slots))[-BATCH:])

        try:
            return [c.text.strip() for c in backend.complete(requests, show, self._context.stopping)]
        finally:
            backend.close()

    def _show(self, activity: str, share: float, slots: tuple[Slot, ...] = ()) -> None:
        progress = (self._done + share) / len(self._spec.models)
        self._context.live.write(LiveSnapshot(time.time(), activity, progress, slots=slots), force=not slots)


def label(row: Example) -> str:
    """A held-out row's name in the live view."""
    return f"task {row.position}"


def run(context: WorkerContext) -> None:
    """Carry out the job's spec."""
    Evaluation(context, EvaluateSpec.model_validate(context.job.spec)).run()


if __name__ == "__main__":
    sys.exit(worker_main(run))
