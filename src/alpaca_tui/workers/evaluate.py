"""The evaluation worker: every model answers the same tasks, greedily, and is scored the same way.

Each loss and each answer is stored as soon as it is there: after a stop or a kill, only what is missing is asked.
"""

from __future__ import annotations

import sys
import time

from alpaca_tui import resources
from alpaca_tui.core import answers
from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.core.records import Completion, Request, SamplingParams, TrainingExample
from alpaca_tui.jobs.live import LiveSnapshot, Slot
from alpaca_tui.jobs.specs import EvaluateSpec
from alpaca_tui.store import datasets, evaluations, suites
from alpaca_tui.store import jobs as job_store
from alpaca_tui.store.evaluations import EvaluationRow
from alpaca_tui.store.suites import SuiteRow, SuiteTask
from alpaca_tui.workers.base import WorkerContext, worker_main
from alpaca_tui.workers.examples import TRAINING_PACK, training_examples
from alpaca_tui.workers.models import local_model, open_model

BATCH = 8
LOSS_SHARE = 0.15
"""How much of a model's time the loss takes, about: one pass over the references against writing all answers."""


class Display:
    """Progress over all models, the time left, and the answers in flight, as the worker's live snapshot."""

    def __init__(self, context: WorkerContext, models: int) -> None:
        self._live, self._models = context.live, models
        self._began = time.monotonic()
        self._finished = 0
        self._resumed_at: float | None = None
        self._tokens = 0
        self._writing_since: float | None = None
        self._slots: dict[int, Slot] = {}

    def say(self, activity: str, share: float) -> None:
        """What is being done, and how much of the present model is."""
        self._write(activity, share, force=True)

    def text(self, index: int, task: SuiteTask, text: str, tokens: int) -> None:
        """An answer so far."""
        self._slots[index] = Slot(f"task {task.position}", "answer", text, tokens)

    def answered(self, index: int, completion: Completion) -> None:
        """An answer is finished and stored."""
        self._slots.pop(index, None)
        self._tokens += completion.completion_tokens

    def writing(self, activity: str, share: float) -> None:
        """Answers are being written."""
        self._writing_since = self._writing_since or time.monotonic()
        if self._live.due():
            self._write(activity, share, force=False)

    def model_done(self) -> None:
        """The present model is scored."""
        self._finished += 1
        self._slots, self._tokens, self._writing_since = {}, 0, None

    def _write(self, activity: str, share: float, *, force: bool) -> None:
        now = time.monotonic()
        progress = (self._finished + share) / self._models
        if self._resumed_at is None:
            self._resumed_at = progress  # what an earlier attempt did says nothing about this one's speed
        gained = progress - self._resumed_at
        eta = (now - self._began) / gained * (1 - progress) if gained > 0.02 else None
        seconds = now - self._writing_since if self._writing_since else 0.0
        tokens = self._tokens + sum(slot.tokens for slot in self._slots.values())
        rate = tokens / seconds if seconds > 1 else None
        slots = tuple(self._slots[i] for i in sorted(self._slots))[:BATCH]
        self._live.write(LiveSnapshot(time.time(), activity, progress, rate, eta, slots), force=force)


class Evaluation:
    """Scores the models of one job in turn, all on one suite with the same prompts."""

    def __init__(self, context: WorkerContext, spec: EvaluateSpec) -> None:
        self._context, self._spec = context, spec
        self._suite = self._find_suite()
        self._tasks = suites.tasks(context.db, self._suite.id)[: spec.limit]
        pack = resources.read_pack(TRAINING_PACK, context.project / "prompts")
        self._examples = training_examples(pack, self._tasks)
        self._display = Display(context, len(spec.models))

    def _find_suite(self) -> SuiteRow:
        db, job = self._context.db, self._context.job
        # A resumed job stays with its tasks, even where a seed was edited meanwhile.
        begun = evaluations.all_evaluations(db, job.id, unfinished=True)
        if begun:
            return suites.get(db, begun[0].suite_id)
        name = self._spec.dataset
        return suites.from_seeds(db) if name is None else suites.held_out(db, datasets.get(db, name))

    def run(self) -> None:
        """Raises Cancelled after a stop request."""
        context = self._context
        scored: dict[str, dict[str, float]] = {}
        for model in dict.fromkeys(self._spec.models):
            row = evaluations.begin(context.db, context.job.id, self._suite.id, model)
            scored[model] = row.metrics if row.finished else self._score(row)
            self._display.model_done()
        job_store.set_result(context.db, context.job.id, {"suite": self._suite.name, "models": scored})

    def _score(self, row: EvaluationRow) -> dict[str, float]:
        db = self._context.db
        self._losses(row)
        self._answers(row)
        items = evaluations.items(db, row.id)
        metrics = answers.metrics(
            [item.score for item in items.values()], list(evaluations.losses(db, row.id).values())
        )
        tokens, seconds = evaluations.tokens(db, row.id)
        metrics |= {"answer_tokens": float(tokens), "answer_seconds": round(seconds, 3)}
        evaluations.finish(db, row.id, metrics)
        loss = metrics.get("held_out_loss")
        said = f"held-out loss {loss:.3f}, " if loss is not None else "no loss (an endpoint), "
        print(f"{row.model}: {said}ROUGE-L {metrics['rouge_l']:.3f} over {len(items)} tasks", flush=True)
        return metrics

    def _losses(self, row: EvaluationRow) -> None:
        """The loss of every task that has none yet; nothing for an endpoint, which tells no probabilities."""
        context = self._context
        known = evaluations.losses(context.db, row.id)
        missing = [i for i, task in enumerate(self._tasks) if task.position not in known]
        model = local_model(context.db, row.model)
        if model is None or not missing:
            return
        self._display.say(f"{row.model}: loading for the loss", LOSS_SHARE * (1 - len(missing) / len(self._tasks)))
        from alpaca_tui.training.evaluate import held_out_loss

        done = len(self._tasks) - len(missing)

        def store(losses: dict[int, answers.TaskLoss]) -> None:
            nonlocal done
            done += len(losses)
            named = {self._tasks[missing[i]].position: loss for i, loss in losses.items()}
            evaluations.add_losses(context.db, row.id, named)
            share = done / len(self._tasks)
            self._display.say(f"{row.model}: loss of {done} of {len(self._tasks)} tasks", LOSS_SHARE * share)

        examples = [self._examples[i] for i in missing]
        held_out_loss(*model, examples, on_losses=store, should_stop=context.stopping)

    def _answers(self, row: EvaluationRow) -> None:
        """The answer to every task that has none yet."""
        context, total = self._context, len(self._tasks)
        known = evaluations.items(context.db, row.id)
        missing = [i for i, task in enumerate(self._tasks) if task.position not in known]
        if not missing:
            return
        done = total - len(missing)

        def share() -> float:
            return LOSS_SHARE + (1 - LOSS_SHARE) * done / total

        def activity() -> str:
            return f"{row.model}: {done} of {total} tasks answered"

        def show(index: int, text: str, tokens: int) -> None:
            self._display.text(index, self._tasks[missing[index]], text, tokens)
            self._display.writing(activity(), share())

        failed: list[int] = []

        def store(index: int, completion: Completion) -> None:
            nonlocal done
            if completion.finish_reason == "error":  # no answer of the model's: it is asked again after a resume
                failed.append(missing[index])
                return
            task, example = self._tasks[missing[index]], self._examples[missing[index]]
            score = answers.score_answer(task.output, completion, is_classification=task.is_classification)
            evaluations.add_answer(context.db, row.id, task.position, example.prompt, completion, score)
            done += 1
            self._display.answered(index, completion)
            self._display.writing(activity(), share())

        if context.stopping():
            raise Cancelled
        self._display.say(f"{row.model}: loading", share())
        backend = open_model(context.db, row.model, BATCH, context.project)
        try:
            requests = [self._request(self._examples[i]) for i in missing]
            backend.complete(requests, show, context.stopping, on_done=store)
        finally:
            backend.close()
        if failed:
            raise AlpacaError(
                f"{row.model} failed to answer {len(failed)} of {total} tasks, the rest is stored; ask for them again "
                f"with: alpaca-tui jobs resume {context.job.id}"
            )

    def _request(self, example: TrainingExample) -> Request:
        return Request(example.prompt, SamplingParams(max_new_tokens=self._spec.max_new_tokens), seed=0)


def run(context: WorkerContext) -> None:
    """Carry out the job's spec."""
    Evaluation(context, EvaluateSpec.model_validate(context.job.spec)).run()


if __name__ == "__main__":
    sys.exit(worker_main(run))
