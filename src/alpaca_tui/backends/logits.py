"""From logits to the next token of every row, each with its own temperature, top-p, penalty and seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.records import SamplingParams

# Most nuclei are far smaller than a vocabulary, and the largest of 49,152 are found much faster than all are
# sorted. A row whose nucleus is larger is sorted whole.
_SHORTLIST = 256


def check_params(params: SamplingParams) -> None:
    """Raises UsageError for a parameter out of range."""
    if not 0 <= params.temperature < float("inf"):
        raise UsageError(f"temperature must be 0 or more, not {params.temperature}")
    if not 0 < params.top_p <= 1:
        raise UsageError(f"top-p must lie above 0 and at most at 1, not {params.top_p}")
    if not -float("inf") < params.presence_penalty < float("inf"):
        raise UsageError(f"the presence penalty must be a finite number, not {params.presence_penalty}")
    if params.max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, not {params.max_new_tokens}")
    if "" in params.stop:
        raise UsageError("a stop string must not be empty")


class Sampler:
    """Draws the next token of a fixed set of rows.

    ``generators`` are CPU generators, one per row: a row's draws depend on its seed and its own logits only,
    not on which rows share its batch or on the kind of device. ``generated`` are the tokens each row
    already has.
    """

    def __init__(
        self,
        params: Sequence[SamplingParams],
        generators: Sequence[torch.Generator],
        generated: Sequence[Sequence[int]],
        device: torch.device,
        vocab_size: int,
    ) -> None:
        self.generators = list(generators)
        # Below 1e-4 a draw is greedy in all but name, and the division would overflow fp32.
        self.temperature = torch.tensor([max(p.temperature, 1e-4) for p in params], device=device)
        self.top_p = torch.tensor([p.top_p for p in params], device=device)
        self.nucleus = [row for row, p in enumerate(params) if p.temperature > 0 and p.top_p < 1]
        self.whole = [row for row, p in enumerate(params) if p.temperature > 0 and p.top_p >= 1]
        self.penalty: torch.Tensor | None = None
        if any(p.presence_penalty for p in params):
            self.penalty = torch.tensor([[p.presence_penalty] for p in params], device=device)
            self.seen = torch.zeros(len(params), vocab_size, device=device)
            for row, tokens in enumerate(generated):
                if tokens:
                    self.seen[row, torch.tensor(tokens, device=device)] = 1.0

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The next tokens (B,) for ``logits`` (B, V), fp32; remembers them for the presence penalty.

        The penalty is OpenAI's: subtracted once from every token that the completion already holds, however
        often, and from no token of the prompt (API reference, "presence_penalty").
        """
        if self.penalty is not None:
            logits = logits - self.penalty * self.seen
        tokens = logits.argmax(dim=-1)
        if self.nucleus:
            scaled, rows, uniform = self._sampled(logits, self.nucleus)
            tokens[rows] = nucleus_draw(scaled, self.top_p[rows], uniform)
        if self.whole:
            scaled, rows, uniform = self._sampled(logits, self.whole)
            tokens[rows] = full_draw(scaled, uniform)
        if self.penalty is not None:
            self.seen.scatter_(1, tokens[:, None], 1.0)
        return tokens

    def _sampled(self, logits: torch.Tensor, which: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The tempered logits of the rows ``which``, their indices, and one uniform number for each."""
        rows = torch.tensor(which, device=logits.device)
        drawn = [torch.rand((), generator=self.generators[row], dtype=torch.float64) for row in which]
        return logits[rows] / self.temperature[rows, None], rows, torch.stack(drawn).to(logits.device)


def nucleus_draw(logits: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row from its nucleus (Holtzman et al. 2020, section 3.1), chosen by a uniform number.

    The nucleus is the smallest set of most probable tokens whose mass reaches ``top_p`` (B,). ``uniform``
    (B,) in [0, 1) picks by the inverse distribution function over that set in order of probability. Tokens
    (B,).
    """
    log_total = torch.logsumexp(logits, dim=-1, keepdim=True)
    best, order = logits.topk(min(_SHORTLIST, logits.shape[-1]), dim=-1)
    mass = (best - log_total).exp().double().cumsum(dim=-1)
    tokens = _pick(order, mass, top_p, uniform)
    wide = (mass[:, -1] < top_p).nonzero()[:, 0]
    if len(wide) and best.shape[-1] < logits.shape[-1]:
        best, order = logits[wide].sort(dim=-1, descending=True, stable=True)
        mass = (best - log_total[wide]).exp().double().cumsum(dim=-1)
        tokens[wide] = _pick(order, mass, top_p[wide], uniform[wide])
    return tokens


def full_draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row from the whole distribution: no order is needed, so nothing is sorted. Tokens (B,)."""
    mass = torch.softmax(logits, dim=-1).double().cumsum(dim=-1)
    column = (mass <= uniform[:, None] * mass[:, -1:]).sum(dim=-1)
    return column.clamp_(max=logits.shape[-1] - 1)


def _pick(order: torch.Tensor, mass: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    # The first column whose mass reaches top-p closes the nucleus; rounding may leave the total just below 1.
    last = (mass < top_p[:, None]).sum(dim=-1, keepdim=True).clamp_(max=mass.shape[-1] - 1)
    target = uniform[:, None] * mass.gather(1, last)
    column = (mass <= target).sum(dim=-1, keepdim=True).minimum(last)
    return order.gather(1, column)[:, 0]
