"""One request to an endpoint, with all its tries, as a coroutine on the backend's private loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import openai

from alpaca_tui.backends.endpoint_api import APIS, MAX_STOPS, OPTIONAL, Answer, Api
from alpaca_tui.backends.endpoint_errors import (
    LONGEST_WAIT_S,
    BrokenAnswer,
    Fault,
    Refused,
    Row,
    fault,
    row_for,
    wait_asked,
)
from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.budget import Prices, careful_tokens, likely_tokens
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.rate_limit import RateLimit, backoff
from alpaca_tui.core.records import Completion, FinishReason, Request
from alpaca_tui.core.text import mended, one_line
from alpaca_tui.keys import DEFAULT_VARIABLE, Key

PIECES_AFTER_STOP = 32
"""Chunks that are still read, for the server's own count, after it ought to have stopped."""

LEAST_ROOM = 64
"""Tokens that are asked for at the least: the prompt's are guessed, and may be fewer."""

LEGACY_MODELS = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
"""OpenAI's models that know only the legacy interface; all its others know only the chat's."""


@dataclass(slots=True)
class Spent:
    """Tokens of all tries of one request; ``tries`` counts them."""

    tries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, prompt: int, completion: int) -> None:
        """A try that the server has worked on."""
        self.prompt_tokens += prompt
        self.completion_tokens += completion


class Failure(Exception):
    """The table's verdict on a request: the action and one sentence."""

    def __init__(self, action: Literal["fail", "stop"], sentence: str, usage: bool = False) -> None:
        super().__init__(sentence)
        self.action, self.sentence, self.usage = action, sentence, usage


@dataclass(slots=True)
class Caller:
    """Sends requests to one endpoint; lives on the loop. What it learns of the server holds for all later requests."""

    client: openai.AsyncOpenAI
    model: str
    settings: EndpointConfig
    key: Key
    prices: Prices | None
    url: str
    limit: RateLimit = field(init=False)
    api: Api = field(init=False)
    unsupported: set[str] = field(default_factory=set)
    new_limit_name: bool = False
    _settled: bool = field(init=False)
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        settings = self.settings
        self.limit = RateLimit(settings.requests_per_minute, settings.tokens_per_minute, time.monotonic())
        name = settings.api
        if name == "auto" and settings.base_url is None:
            name = "completions" if self.model in LEGACY_MODELS else "chat"
        self._settled = name != "auto"
        self.api = APIS["completions" if name == "auto" else name]

    async def complete(
        self, request: Request, spent: Spent, on_text: Callable[[str, int], None], afford: Callable[[], bool]
    ) -> Completion:
        """The answer, after as many tries as it takes and ``afford()`` allows. Raises Failure with the last word."""
        began = time.monotonic()
        while True:
            spent.tries += 1
            answer = Answer(request)
            try:
                await self._turn(request)
                sent = time.monotonic()
                await self._stream(answer, on_text)
                return self._completion(answer, spent, time.monotonic() - (began if spent.tries == 1 else sent))
            except (openai.OpenAIError, BrokenAnswer, Refused, TimeoutError, ValueError) as error:
                found = fault(error)
                if self._adapt(found):
                    spent.tries -= 1
                    continue
                self._charge(found, answer, spent)
                await self._next_try(found, spent.tries)
                if not afford():
                    reason = f"the budget does not hold another try after: {self.key.hide(fault_text(found))}"
                    raise Failure("fail", reason) from None

    async def _turn(self, request: Request) -> None:
        guessed = likely_tokens(request.prompt) + request.params.max_new_tokens
        while (wait := self.limit.wait(guessed, time.monotonic())) > 0:
            await asyncio.sleep(wait)
        self.limit.take(guessed, time.monotonic())

    async def _stream(self, answer: Answer, on_text: Callable[[str, int], None]) -> None:
        settings, late = self.settings, 0
        body = self._body(answer.request)
        chunks: AsyncIterator[Any] | None = None
        try:
            async with asyncio.timeout(settings.connect_timeout + settings.first_token_timeout):
                chunks = await self.api.open(self.client, body)
                first = await anext(chunks, None)
            self._settled = True
            chunk = first
            while chunk is not None:
                answer.add(self.api.piece(chunk))
                on_text(mended(answer.text), answer.pieces)
                late += answer.stopped_by is not None
                if answer.over or late > PIECES_AFTER_STOP:
                    break
                async with asyncio.timeout(settings.token_timeout):
                    chunk = await anext(chunks, None)
        finally:
            if chunks is not None and (close := getattr(chunks, "close", None)) is not None:
                with suppress(Exception):
                    await asyncio.shield(close())
        if answer.finish is None and answer.stopped_by is None:
            raise BrokenAnswer("the answer broke off" if answer.pieces else "the answer was empty")
        if answer.finish == "content_filter":
            raise Refused("the provider's content filter cut the answer")

    def _body(self, request: Request) -> dict[str, Any]:
        body = {
            name: value for name, value in self.api.body(self.model, request).items() if name not in self.unsupported
        }
        body["max_tokens"] = self._room(request, body["max_tokens"])
        if self.new_limit_name:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return body

    def _room(self, request: Request, wanted: int) -> int:
        """Tokens that the answer may have where the context is known: more than fits, a server refuses."""
        context = self.settings.context_length
        if context is None:
            return wanted
        return max(min(wanted, LEAST_ROOM), min(wanted, context - careful_tokens(request.prompt)))

    def _adapt(self, found: Fault) -> bool:
        """Learn from a refusal that costs nothing: another interface, a field that the server does not know."""
        missing_path = found.status in (404, 405, 501) and not found.mentions("model", "not_found_error")
        wrong_kind = found.status in (400, 404) and found.mentions("chat model", "v1/chat/completions")
        if not self._settled and (missing_path or wrong_kind) and self.api.name == "completions":
            self.api, self._settled = APIS["chat"], True
            return True
        if found.status not in (400, 422):
            return False
        if found.mentions("max_completion_tokens") and not self.new_limit_name and self.api.name == "chat":
            self.new_limit_name = True
            return True
        named = {name for name in OPTIONAL - self.unsupported if found.mentions(name)}
        self.unsupported |= named | ({"top_logprobs"} if "logprobs" in named else set())
        return bool(named)

    def _charge(self, found: Fault, answer: Answer, spent: Spent) -> None:
        """A try that failed: what the server has read and written by then is counted, as it may be billed."""
        guessed = likely_tokens(answer.request.prompt) + answer.request.params.max_new_tokens
        read = written = 0
        # An error status is not billed; a stream that broke is, and so may be one that never began in time.
        if found.status == 0 and not (isinstance(found.error, openai.APIConnectionError) and not answer.pieces):
            read, written = answer.usage or (likely_tokens(answer.request.prompt), answer.pieces)
        elif isinstance(found.error, (openai.APITimeoutError, TimeoutError)):
            read = likely_tokens(answer.request.prompt)
        spent.add(read, written)
        self.limit.correct(guessed, read + written, time.monotonic())

    async def _next_try(self, found: Fault, tried: int) -> None:
        """Wait for the next try. Raises Failure where there is to be none."""
        row = row_for(found)
        if row is None:
            raise found.error
        if row.action != "retry":
            raise self._failure(row, row.action, found)
        asked = wait_asked(found.error)
        if asked is not None and asked > LONGEST_WAIT_S:
            raise Failure("stop", f"{self.url} asks to wait {asked:.0f} s before the next request: resume the job then")
        if tried >= self.settings.tries:
            raise self._failure(row, "stop" if row.at_last == "stop" else "fail", found)
        if asked is not None:
            self.limit.hold(asked, time.monotonic())
            # Those who waited together must not come back together.
            await asyncio.sleep(asked + self._random.uniform(0.0, 0.1))
        else:
            await asyncio.sleep(backoff(tried, self._random))

    def _failure(self, row: Row, action: Literal["fail", "stop"], found: Fault) -> Failure:
        key = self.settings.key_variable or DEFAULT_VARIABLE
        said = self.key.hide(fault_text(found))
        sentence = row.sentence.format(model=self.model, url=self.url, key=key, said=said, status=found.status)
        return Failure(action, sentence, usage=row.name == "too long")

    def _completion(self, answer: Answer, spent: Spent, seconds: float) -> Completion:
        request = answer.request
        estimated = answer.usage is None
        read, written = answer.usage or (likely_tokens(request.prompt), answer.pieces)
        guessed = likely_tokens(request.prompt) + request.params.max_new_tokens
        self.limit.correct(guessed, read + written, time.monotonic())
        spent.add(read, written)
        finish: FinishReason = "length" if answer.finish == "length" else "eos"
        # A server that cuts at a stop string rarely says so: with some to cut at, it may have been one.
        if answer.stopped_by is not None or (finish == "eos" and request.params.stop[:MAX_STOPS]):
            finish = "stop"
        return Completion(
            text=mended(answer.text),
            finish_reason=finish,
            prompt_tokens=read,
            completion_tokens=written,
            seconds=seconds,
            choice_logprobs=answer.choice_logprobs(),
            stopped_by=answer.stopped_by,
            cost=self.cost(spent),
            tokens_estimated=estimated,
        )

    def failed(self, request: Request, spent: Spent, reason: str, seconds: float) -> Completion:
        """The record of a request that failed for good."""
        return Completion(
            text="",
            finish_reason="error",
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            seconds=seconds,
            cost=self.cost(spent),
            tokens_estimated=True,
            error=reason,
        )

    def cost(self, spent: Spent) -> float | None:
        """Money for all tries; None without prices."""
        return self.prices.cost(spent.prompt_tokens, spent.completion_tokens) if self.prices else None


def fault_text(found: Fault) -> str:
    """What the server said, in its own case."""
    text = str(getattr(found.error, "message", None) or found.error or type(found.error).__name__)
    return one_line(text)[:200]


def as_error(failure: Failure) -> AlpacaError:
    """The error that ends the job."""
    return UsageError(failure.sentence) if failure.usage else AlpacaError(failure.sentence)
