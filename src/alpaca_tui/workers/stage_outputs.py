"""The stage in which another model writes the outputs: instruction and input stay, the old output is a revision."""

from __future__ import annotations

from collections.abc import Callable

from alpaca_tui.core.parsing_tasks import parse_output
from alpaca_tui.core.records import Completion, ParsedInstance
from alpaca_tui.store import completions, leases, outputs
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.workers.stage_run import Run

CHANGED = "the sample has been changed meanwhile; the answer was not used"


def at_once() -> bool:
    """Outputs are asked for as soon as there is one to ask for."""
    return True


class OutputStage:
    """Asks ``run.output_model`` for the outputs of the samples that wait for one.

    With ``regenerate`` it asks for those of the project's pending samples instead. ``due()`` says whether now is the
    time: where two models cannot be held at once, outputs are asked for many at a time.
    """

    def __init__(self, run: Run, *, regenerate: bool = False, due: Callable[[], bool] = at_once) -> None:
        assert run.output_model is not None
        self._run, self._model, self._regenerate, self._due = run, run.output_model, regenerate, due
        self._asked: dict[int, int] = {}
        """Sample id -> the revision that was asked about."""

    def plan(self, limit: int) -> list[Call]:
        if not self._due():
            return []
        taken = leases.held(self._run.db, "output")
        rows = outputs.queue(
            self._run.db,
            self._model,
            limit + len(taken),
            regenerate=self._regenerate,
            wanted=self._run.only_wanted,
        )
        calls = []
        for row in [row for row in rows if row.sample_id not in taken][:limit]:
            self._asked[row.sample_id] = row.revision
            calls.append(
                self._run.call(
                    "instance",
                    "output",
                    row.sample_id,
                    {"instruction": row.instruction, "input": row.input},
                    row.candidate_id,
                    sample_id=row.sample_id,
                )
            )
        return calls

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        assert call.sample_id is not None
        asked = self._asked.pop(call.sample_id)
        if run.try_again(call, completion):
            return
        parsed = parse_output(completion.text, completion.finish_reason)
        with write(run.db):
            row = outputs.current(run.db, call.sample_id)
            if row is None or row.revision != asked:
                completions.record(run.db, call, completion, CHANGED)
                return
            completion_id = completions.record(run.db, call, completion, parsed.problem)
            if parsed.output is None:
                outputs.drop(run.db, row)
                return
            instance = ParsedInstance(0, row.input, parsed.output)
            verdicts = run.screen.judge_output(row.instruction, instance, known=row.state == "pending")
            if outputs.put(run.db, row, completion_id, parsed.output, verdicts, run.screen.tokenizer):
                run.screen.keep_instance(row.sample_id, row.instruction, instance)
