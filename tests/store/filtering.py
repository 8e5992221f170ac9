"""A worker that filters and fills as the generation worker does, without a model."""

from __future__ import annotations

from alpaca_tui.config import RulesConfig
from alpaca_tui.core.records import ParsedInstance
from alpaca_tui.store import candidates, samples
from alpaca_tui.store.database import write
from alpaca_tui.workers.screening import Screen
from store.filling import Filler

TEXTS = (
    "Describe the life of a worker bee in three sentences.",
    "Describe the life of a worker ant in three sentences.",  # 0.9 with the bee
    "Describe the daily life of one worker ant in four sentences.",  # 0.67 with the bee, 0.76 with the ant
    "Describe the life of a worker bee in three sentences!",
    "Explain seed number 1 and two.",  # 0.8 with the first seed
    "Say so",
    "Suggest a name for a small bakery near the harbour.",
)


class Worker:
    """Filters and fills as the generation worker does."""

    def __init__(self, filler: Filler, threshold: float = 0.7, rules: RulesConfig | None = None) -> None:
        self.db, self.filler, self.threshold = filler.db, filler, threshold
        self.screen = Screen(filler.db, threshold, rules or RulesConfig())

    def filter(self, *texts: str) -> list[int]:
        made = []
        for text in texts:
            with write(self.db):
                verdicts = self.screen.judge_instruction(text)
                completion_id = self.filler.completion()
                number, passed = candidates.add(self.db, completion_id, 0, text, verdicts, self.screen.tokenizer)
                self.screen.note_instruction(number, text, verdicts)
                if passed:
                    self.screen.keep_instruction(number, text)
            made.append(number)
        return made

    def fill(self, candidate_id: int, output: str) -> int:
        """The candidate's one sample."""
        text = self.db["candidates"].get(candidate_id)["instruction"]
        instance = ParsedInstance(0, "", output)
        with write(self.db):
            candidates.set_classification(self.db, candidate_id, False, -1.0)
            completion_id = self.filler.completion(candidate_id=candidate_id)
            found = self.screen.judge_instances(text, [instance])[0]
            number, passed = samples.add(
                self.db, candidate_id, completion_id, text, instance, found, self.screen.tokenizer
            )
            if passed:
                self.screen.keep_instance(number, text, instance)
            candidates.finish(self.db, candidate_id)
        return number
