"""The filter as the worker uses it: the rules of core, fed with what the store knows already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlite_utils import Database

from alpaca_tui.config import RulesConfig
from alpaca_tui.core import rules
from alpaca_tui.core.instance_rules import as_draft, draft_rules
from alpaca_tui.core.records import Neighbour, ParsedInstance, Verdict
from alpaca_tui.core.replay import ORDER_DEPENDENT
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.store import candidates, neighbours, rescues, samples, seeds

_SETTLED_BY_INPUT = frozenset({"duplicate_input", "conflicting_outputs"})
_COMPARES_OUTPUT = frozenset({"duplicate_instance", "near_duplicate_instance"})


class Screen:
    """Judges new instructions and instances, and remembers those that pass.

    Seeds (disabled ones too: a person knows them) and every kept candidate count as known.
    """

    def __init__(
        self,
        db: Database,
        threshold: float,
        config: RulesConfig,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``say`` is told now and then how far reading what is known has come: of a large pool it takes a while."""
        self._say = say
        self.tokenizer = config.tokenizer
        """The project's, for every score."""
        self._instruction_rules = rules.instruction_rules(threshold, config.tokenizer, config.settings())
        self._instance_rules = rules.instance_rules(config.settings())
        self._db = db
        self._history = _open_history(db, config.tokenizer, self._tell("comparing candidates"))
        self._learn()
        self.kept_instructions = self.kept_instances = 0
        """How many this screen has let pass, drafts included."""

    def _learn(self) -> None:
        """Begin with what the store knows now."""
        db = self._db
        self._rescues = rescues.state(db)
        self._rescued = {entry.id for entry in rescues.taken_in(db)}
        self._context = rules.Context(self.tokenizer)
        known = [Neighbour("seed", seed.id, seed.task.instruction) for seed in seeds.all_seeds(db)]
        kept = [Neighbour("candidate", entry.id, entry.instruction) for entry in candidates.kept(db)]
        everything = known + kept
        tell = self._tell("indexing instructions")
        self._context.know_instructions(everything, lambda done: tell(done, len(everything)))
        self._last_candidate = kept[-1].id if kept else 0
        self._last_sample = 0
        self._know_samples()

    def _tell(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._say(f"{what}: {done:,} of {total:,}")

    def catch_up(self) -> None:
        """Learn what other workers have kept since.

        In the write transaction in which something is judged and stored: so no two workers ever keep texts that are
        alike.
        """
        self._heed_rescues()
        new = [Neighbour("candidate", e.id, e.instruction) for e in candidates.kept(self._db, self._last_candidate)]
        if new:
            self._context.know_instructions(new)
            self._last_candidate = new[-1].id
        self._know_samples()
        self._history.catch_up()

    def _heed_rescues(self) -> None:
        """Know the instructions that a person has taken back in, and forget those put out again."""
        state = rescues.state(self._db)
        if state == self._rescues:
            return
        found = {entry.id: entry for entry in rescues.taken_in(self._db)}
        if not self._rescued <= found.keys():
            self._learn()  # an index forgets nothing: all is learned anew
            return
        new = [Neighbour("candidate", id, entry.instruction) for id, entry in found.items() if id not in self._rescued]
        # Those after the last known one come with the other kept candidates.
        self._context.know_instructions([one for one in new if one.id <= self._last_candidate])
        self._rescues, self._rescued = state, set(found)

    def _know_samples(self) -> None:
        for sample_id, instruction, input, output in samples.known_texts(self._db, self._last_sample):
            self._context.know_instance(sample_id, instruction, input, output)
            self._last_sample = sample_id

    def judge_instruction(self, instruction: str) -> tuple[Verdict, ...]:
        """Every rule's verdict on a new instruction."""
        return rules.judge_instruction(instruction, self._instruction_rules, self._context)

    def note_instruction(self, candidate_id: int, instruction: str, verdicts: Sequence[Verdict]) -> None:
        """Store which earlier texts a new candidate, kept or not, is alike to; in the caller's transaction."""
        passed = all(verdict.passed for verdict in verdicts if verdict.rule not in ORDER_DEPENDENT)
        self._history.note(candidate_id, instruction, passed)

    def keep_instruction(self, candidate_id: int, instruction: str) -> None:
        """From now on the instruction is known."""
        self._context.know_instruction("candidate", candidate_id, instruction)
        self._last_candidate = max(self._last_candidate, candidate_id)
        self.kept_instructions += 1

    def judge_instances(self, instruction: str, instances: Sequence[ParsedInstance]) -> list[tuple[Verdict, ...]]:
        """Every rule's verdicts on the instances of one instruction."""
        return rules.judge_instances(instruction, instances, self._instance_rules, self._context)

    def judge_drafts(self, instruction: str, instances: Sequence[ParsedInstance]) -> list[tuple[Verdict, ...]]:
        """The verdicts on instances whose outputs another model is to write: what their inputs are judged by."""
        drafts = [as_draft(instance) for instance in instances]
        return rules.judge_instances(instruction, drafts, draft_rules(self._instance_rules), self._context)

    def judge_output(self, instruction: str, instance: ParsedInstance, *, known: bool) -> tuple[Verdict, ...]:
        """The verdicts on another model's output to an instruction and input that are known already.

        ``known`` tells that the sample with its former output is known too: it must not be its own near duplicate.
        """
        left_out = _SETTLED_BY_INPUT | (_COMPARES_OUTPUT if known else frozenset())
        chosen = [rule for rule in self._instance_rules if rule.name not in left_out]
        return rules.judge_instances(instruction, [instance], chosen, self._context)[0]

    def keep_instance(self, sample_id: int, instruction: str, instance: ParsedInstance, *, draft: bool = False) -> None:
        """From now on the instance is known; of a ``draft`` the input only."""
        self._context.know_instance(sample_id, instruction, instance.input, "" if draft else instance.output)
        self._last_sample = max(self._last_sample, sample_id)
        self.kept_instances += 1


def _open_history(db: Database, tokenizer: TokenizerName, progress: neighbours.Progress) -> neighbours.History:
    """The history. Several workers begin together, and where pairs are missing the first one stores them."""
    try:
        return neighbours.History(db, tokenizer, progress)
    except neighbours.Concurrent:
        return neighbours.History(db, tokenizer, progress)
