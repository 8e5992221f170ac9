"""The stages that complete an instruction: is it classification, and which inputs and outputs belong to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from alpaca_tui.core import parsing
from alpaca_tui.core.faults import cost
from alpaca_tui.core.records import Completion, ParsedInstances
from alpaca_tui.store import candidates, completions, leases
from alpaca_tui.store.completions import Call
from alpaca_tui.store.database import write
from alpaca_tui.store.flips import RECLASSIFIED
from alpaca_tui.workers.stage_instructions import keep_instances
from alpaca_tui.workers.stage_run import MAX_TRIES, Run

TEMPLATE: Final = "classification"


class ClassificationStage:
    """Decides by few-shot whether a candidate is a classification task."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._bias = _Bias(run) if run.pack.stage(TEMPLATE).calibrate else None

    def plan(self, limit: int) -> list[Call]:
        run = self._run
        rows = candidates.waiting(run.db, TEMPLATE, limit, wanted=run.only_wanted)
        if rows and self._bias is not None and not self._bias.settled:
            return self._bias.plan(limit)
        return [run.call(TEMPLATE, TEMPLATE, row.id, {"instruction": row.instruction}, row.id) for row in rows]

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        if call.candidate_id is None:
            assert self._bias is not None
            self._bias.store(call, completion)
            return
        if run.try_again(call, completion):
            return
        answer, margin, bias = self._decide(completion)
        problem = None if answer is not None else "the answer is neither yes nor no; taken as no"
        if completion.finish_reason == "error":
            problem = "the call failed; taken as no"
        low = answer is None or (margin is not None and abs(margin) < run.pack.stage(TEMPLATE).low_margin)
        faults = cost(completion, (), ()) if run.faithful else None
        with write(run.db):
            completions.record(run.db, call, completion, problem, faults)
            candidates.set_classification(run.db, call.candidate_id, bool(answer), margin, bias, low)

    def _decide(self, completion: Completion) -> tuple[bool | None, float | None, float | None]:
        """(yes, margin, bias): from the log-odds of the first token, which say more than the first sampled word.

        From the text where the backend tells no log-odds, and in mode ``faithful``.
        """
        answer = parsing.parse_classification(completion.text)
        if completion.choice_logprobs is None:
            return answer, None, None
        yes, no = completion.choice_logprobs
        bias = self._bias.value if self._bias is not None else None
        margin = yes - no - (bias or 0.0)
        return (answer if self._run.faithful else margin > 0), margin, bias


@dataclass(slots=True)
class _Measured:
    done: bool = False
    value: float | None = None


class _Bias:
    """The model's leaning towards yes: its mean log-odds for subjects that say nothing (Zhao et al., 2102.09690).

    Asked once per model and pack; kept as calls about no candidate.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._subjects = run.pack.stage(TEMPLATE).content_free
        self._tries: Counter[str] = Counter()
        self._measured = _Measured()

    @property
    def value(self) -> float | None:
        """The bias in log-odds; None where the backend tells no log-odds."""
        return self._measured.value

    @property
    def settled(self) -> bool:
        """Whether every subject has been answered (or given up)."""
        if not self._measured.done:
            known = self._known()
            if all(subject in known or self._tries[subject] >= MAX_TRIES for subject in self._subjects):
                odds = [yes - no for yes, no in filter(None, known.values())]
                self._measured = _Measured(True, sum(odds) / len(odds) if odds else None)
        return self._measured.done

    def plan(self, limit: int) -> list[Call]:
        known = self._known()
        taken = leases.held(self._run.db, TEMPLATE)
        calls = []
        for at, subject in enumerate(self._subjects):
            number = -1 - at - len(self._subjects) * self._tries[subject]
            if subject not in known and number not in taken and self._tries[subject] < MAX_TRIES:
                calls.append(self._run.call(TEMPLATE, TEMPLATE, number, {"instruction": subject}))
        return calls[:limit]

    def store(self, call: Call, completion: Completion) -> None:
        subject = str(call.variables["instruction"])
        problem = "the call failed" if completion.finish_reason == "error" else None
        self._tries[subject] += problem is not None
        with write(self._run.db):
            completions.record(self._run.db, call, completion, problem)

    def _known(self) -> dict[str, list[float] | None]:
        run = self._run
        known = completions.choice_logprobs(run.db, TEMPLATE, run.model, run.pack.hash)
        return {subject: odds for subject, odds in known.items() if subject in self._subjects}


class InstanceStage:
    """Fills in inputs and outputs: label first for classification tasks, input first for the others."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def plan(self, limit: int) -> list[Call]:
        # One template at a time, so that all of them are read behind the same long prefix.
        run = self._run
        oldest = candidates.waiting(run.db, "instance", 1, wanted=run.only_wanted)
        template = "output_first" if oldest and oldest[0].is_classification else "input_first"
        rows = candidates.waiting(run.db, "instance", limit, template == "output_first", wanted=run.only_wanted)
        return [run.call("instance", template, row.id, {"instruction": row.instruction}, row.id) for row in rows]

    def store(self, call: Call, completion: Completion) -> None:
        run = self._run
        assert call.candidate_id is not None
        if run.try_again(call, completion):
            return
        instruction = str(call.variables["instruction"])
        parsed = self._parse(call.template, completion, run.pack.mode)
        faults = None
        if run.faithful:
            fixed = self._parse(call.template, completion, "fixed")
            faults = cost(completion, [i.output for i in parsed.instances], [i.output for i in fixed.instances])
        with write(run.db):
            completion_id = completions.record(run.db, call, completion, parsed.problem, faults)
            # A person may have flipped it while this was written: then its instances are asked for anew.
            stale = candidates.kind(run.db, call.candidate_id) != (call.template == "output_first")
            # Or it was rescued, and that was taken back: then they go the way of their instruction.
            refused_by = RECLASSIFIED if stale else candidates.rejected_by(run.db, call.candidate_id)
            keep_instances(run, call.candidate_id, completion_id, instruction, list(parsed.instances), refused_by)
            if not stale:
                candidates.finish(run.db, call.candidate_id)

    def _parse(self, template: str, completion: Completion, mode: parsing.Mode) -> ParsedInstances:
        prompt = self._run.pack.stage(template)
        read = parsing.parse_output_first if template == "output_first" else parsing.parse_input_first
        return read(
            completion.text, completion.finish_reason, cue=prompt.cue, max_instances=prompt.max_instances, mode=mode
        )
