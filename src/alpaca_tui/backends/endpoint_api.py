"""The two interfaces of an OpenAI-compatible server: how a request is put, and how a streamed answer is read."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from openai import AsyncOpenAI

from alpaca_tui.core.records import Request

MAX_STOPS = 4
"""OpenAI takes no more stop strings; the rest is cut here."""
TOP_LOGPROBS = {"chat": 20, "completions": 5}
"""The most alternatives that the interfaces give for a token."""
OPTIONAL = frozenset({"stream_options", "logprobs", "top_logprobs", "seed"})
"""Fields that a server may refuse without changing what is asked for."""

Tops = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk of the stream brought. ``tops`` are the alternatives of its first token with their log-probs."""

    text: str = ""
    finish: str | None = None
    stopped_by: str | None = None
    tops: Tops | None = None
    usage: tuple[int, int] | None = None
    answers: bool = True
    """Whether it holds a choice at all."""


class Api(Protocol):
    """One interface."""

    name: Literal["chat", "completions"]

    async def open(self, client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[Any]:
        """Send the request; the chunks of the answer."""
        ...

    def body(self, model: str, request: Request) -> dict[str, Any]:
        """The request's fields."""
        ...

    def piece(self, chunk: Any) -> Piece:
        """What a chunk says."""
        ...


def _common(model: str, request: Request) -> dict[str, Any]:
    params = request.params
    body: dict[str, Any] = {
        "model": model,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_new_tokens,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if params.presence_penalty:
        body["presence_penalty"] = params.presence_penalty
    if params.stop:
        body["stop"] = list(params.stop[:MAX_STOPS])
    return body


class Chat:
    """``/chat/completions``: the whole prompt is one user message."""

    name: Literal["chat", "completions"] = "chat"

    async def open(self, client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[Any]:
        return await client.chat.completions.create(**body)

    def body(self, model: str, request: Request) -> dict[str, Any]:
        body = _common(model, request) | {"messages": [{"role": "user", "content": request.prompt}]}
        if request.choices:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS["chat"]}
        return body

    def piece(self, chunk: Any) -> Piece:
        choice = _choice(chunk)
        if choice is None:
            return Piece(usage=_usage(chunk), answers=False)
        content = getattr(getattr(choice, "logprobs", None), "content", None) or []
        tops = {top.token: top.logprob for top in (content[0].top_logprobs or [])} if content else None
        text = getattr(getattr(choice, "delta", None), "content", None) or ""
        return Piece(text, choice.finish_reason, _stopped_by(choice), tops or None, _usage(chunk))


class Completions:
    """``/completions``: the prompt as it is, which is what few-shot prompts are written for."""

    name: Literal["chat", "completions"] = "completions"

    async def open(self, client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[Any]:
        return await client.completions.create(**body)

    def body(self, model: str, request: Request) -> dict[str, Any]:
        body = _common(model, request) | {"prompt": request.prompt}
        if request.choices:
            body["logprobs"] = TOP_LOGPROBS["completions"]
        return body

    def piece(self, chunk: Any) -> Piece:
        choice = _choice(chunk)
        if choice is None:
            return Piece(usage=_usage(chunk), answers=False)
        listed = getattr(getattr(choice, "logprobs", None), "top_logprobs", None)
        tops = listed[0] if listed else None
        return Piece(
            getattr(choice, "text", None) or "", choice.finish_reason, _stopped_by(choice), tops or None, _usage(chunk)
        )


APIS: dict[str, Api] = {"chat": Chat(), "completions": Completions()}


def _choice(chunk: Any) -> Any | None:
    choices = getattr(chunk, "choices", None)
    return choices[0] if choices else None


def _stopped_by(choice: Any) -> str | None:
    # vLLM and SGLang say in a field of their own which stop string it was; a token id there is the end of sequence.
    for name in ("stop_reason", "matched_stop"):
        value = getattr(choice, name, None)
        if isinstance(value, str):
            return value
    return None


def _usage(chunk: Any) -> tuple[int, int] | None:
    usage = getattr(chunk, "usage", None)
    read, written = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    return (read, written) if isinstance(read, int) and isinstance(written, int) else None


@dataclass(slots=True)
class Answer:
    """An answer as it grows. ``text`` ends before the first stop string, whoever cut it."""

    request: Request
    text: str = ""
    pieces: int = 0
    finish: str | None = None
    stopped_by: str | None = None
    tops: Tops | None = None
    usage: tuple[int, int] | None = None
    _raw: str = field(default="", repr=False)

    def add(self, piece: Piece) -> None:
        """Take the next chunk."""
        self.usage = piece.usage or self.usage
        if not piece.answers:
            return
        self.finish = piece.finish or self.finish
        if self.tops is None and not self._raw:
            self.tops = piece.tops
        if piece.text:
            self.pieces += 1
            self._raw += piece.text
            self._cut(len(self._raw) - len(piece.text))
        if self.stopped_by is None:
            self.stopped_by = piece.stopped_by

    @property
    def over(self) -> bool:
        """Whether a stop string that the server does not know of has come: there is nothing left to wait for."""
        return self.stopped_by is not None and self.stopped_by not in self.request.params.stop[:MAX_STOPS]

    def _cut(self, old: int) -> None:
        if self.stopped_by is not None:
            return
        stops = self.request.params.stop
        start = max(0, old - max(map(len, stops), default=0))
        found = [(at, stop) for stop in stops if (at := self._raw.find(stop, start)) >= 0]
        if not found:
            self.text = self._raw
            return
        at, self.stopped_by = min(found, key=lambda hit: hit[0])
        self.text = self._raw[:at]

    def choice_logprobs(self) -> tuple[float, ...] | None:
        """The choices' log-probabilities as the first token, as far as the alternatives tell; None: they don't.

        A choice among them counts with all its spellings (" Yes", "yes"). One that is not among them is at most as
        likely as the least of them, and is given that.
        """
        if not self.request.choices or not self.tops:
            return None
        least = min(self.tops.values())
        found = []
        for choice in self.request.choices:
            name = choice.strip().lower()
            same = [math.exp(value) for token, value in self.tops.items() if token.strip().lower() == name]
            found.append(math.log(sum(same)) if sum(same) > 0 else None)
        if all(value is None for value in found):
            return None
        return tuple(least if value is None else value for value in found)
