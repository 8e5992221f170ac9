"""Money: what a call costs, and whether another one still fits the budget. Pure; one currency, whatever it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

CHAT_OVERHEAD_TOKENS = 64
"""More than what a server's chat template adds around one message."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6

    def worst(self, prompt: str, max_new_tokens: int) -> float:
        """The most that a call can cost, before it is made."""
        return self.cost(most_tokens(prompt), max_new_tokens)


def most_tokens(text: str) -> int:
    """No tokenizer in use makes more tokens of a text: one for each byte of its UTF-8, and the chat template's."""
    return len(text.encode("utf-8", "surrogatepass")) + CHAT_OVERHEAD_TOKENS


def likely_tokens(text: str) -> int:
    """A guess where nobody counts: four bytes a token, as English text has."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def careful_tokens(text: str) -> int:
    """A guess on the safe side for most texts: three bytes a token, and the chat template's."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3) + CHAT_OVERHEAD_TOKENS


@dataclass(slots=True)
class Ledger:
    """What is spent and what is reserved for calls in flight. ``limit`` None: no budget, only the counting."""

    limit: float | None = None
    spent: float = 0.0
    _reserved: dict[int, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def reserved(self) -> float:
        """The worst case of all calls in flight."""
        return sum(self._reserved.values())

    def reserve(self, call: int, worst: float) -> bool:
        """Set the worst case of a call aside, in place of what was; False, and no change, where it does not fit."""
        with self._lock:
            others = self.reserved - self._reserved.get(call, 0.0)
            if self.limit is not None and self.spent + others + worst > self.limit + 1e-12:
                return False
            self._reserved[call] = worst
        return True

    def settle(self, call: int, cost: float) -> None:
        """The call is over and cost so much."""
        with self._lock:
            self._reserved.pop(call, None)
            self.spent += cost
