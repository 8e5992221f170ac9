"""What the rules know: the instructions and samples kept so far, which block later ones like them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alpaca_tui.core.novelty import NoveltyIndex
from alpaca_tui.core.records import Neighbour, NeighbourKind
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rule_text import normalise


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """A kept sample, as later instances meet it."""

    id: int
    input: str
    output: str

    @property
    def neighbour(self) -> Neighbour:
        """The sample as a verdict names it."""
        return Neighbour("sample", self.id, f"{self.input}\n{self.output}".strip())


class Context:
    """The known texts, by exact wording and by ROUGE-L.

    It grows by the ``know_`` methods. Call them for seeds and for what was kept: a rejected text blocks nothing.
    ``tokenizer`` is the project's, for every score.
    """

    def __init__(self, tokenizer: TokenizerName = "rouge") -> None:
        self.tokenizer: TokenizerName = tokenizer
        self.instructions = NoveltyIndex(tokenizer)
        """Keys are ``Neighbour``."""
        self.instances = NoveltyIndex(tokenizer)
        """Input and output joined by a newline; keys are ``KnownInstance``."""
        self._wordings: dict[str, Neighbour] = {}
        self._answered: dict[tuple[str, str], KnownInstance] = {}
        self._triples: dict[tuple[str, str, str], KnownInstance] = {}

    def know_instruction(self, kind: NeighbourKind, row_id: int, text: str) -> None:
        """From now on the instruction blocks others like it."""
        neighbour = Neighbour(kind, row_id, text)
        self.instructions.add(neighbour, text)
        self.know_wording(neighbour)

    def know_instructions(
        self, known: Sequence[Neighbour], progress: Callable[[int], None] = lambda done: None
    ) -> None:
        """``know_instruction`` for many at once, in order; much faster for a large pool.

        ``progress`` is told now and then how many are known.
        """
        self.instructions.extend(((neighbour, neighbour.text) for neighbour in known), progress)
        for neighbour in known:
            self.know_wording(neighbour)

    def know_wording(self, neighbour: Neighbour) -> None:
        """From now on the instruction blocks those of its very wording, and no others."""
        self._wordings.setdefault(normalise(neighbour.text), neighbour)

    def know_instance(self, sample_id: int, instruction: str, input: str, output: str) -> None:
        """From now on the sample blocks others like it."""
        known = KnownInstance(sample_id, input, output)
        self.instances.add(known, f"{input}\n{output}")
        key = (normalise(instruction), normalise(input))
        self._answered.setdefault(key, known)
        self._triples.setdefault((*key, normalise(output)), known)

    def same_instruction(self, text: str) -> Neighbour | None:
        """The first known instruction of this wording, after ``normalise``."""
        return self._wordings.get(normalise(text))

    def same_input(self, instruction: str, input: str) -> Neighbour | None:
        """The first known sample with this instruction and input, after ``normalise``."""
        known = self._answered.get((normalise(instruction), normalise(input)))
        return known.neighbour if known else None

    def same_instance(self, instruction: str, input: str, output: str) -> Neighbour | None:
        """The first known sample with this instruction, input and output, after ``normalise``."""
        known = self._triples.get((normalise(instruction), normalise(input), normalise(output)))
        return known.neighbour if known else None
