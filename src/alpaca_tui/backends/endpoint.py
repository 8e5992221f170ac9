"""The endpoint backend: any OpenAI-compatible server, many requests at once, within its limits and a budget."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
import openai

from alpaca_tui.backends.base import IsCancelled, More, OnDone, OnText, never
from alpaca_tui.backends.endpoint_calls import Caller, Failure, Spent, as_error
from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.budget import Ledger, Prices, likely_tokens
from alpaca_tui.core.errors import AlpacaError, Cancelled, Paused, UsageError
from alpaca_tui.core.records import Completion, Request
from alpaca_tui.keys import find_key

T = TypeVar("T")

TEXT_INTERVAL = 0.15  # seconds between two rounds of on_text
TICK_S = 0.05  # how often cancelled() is asked
DRAIN_S = 15.0  # what is paid for is waited for so long after a stop; a worker has 20 s


@dataclass(slots=True)
class _Flight:
    """A request on its way: what it has cost, and the text so far (written by the loop, read by the caller)."""

    index: int
    request: Request
    spent: Spent = field(default_factory=Spent)
    text: str = ""
    tokens: int = 0
    began: float = field(default_factory=time.monotonic)
    future: Future[None] | None = None


class EndpointBackend:
    """A model behind ``settings.base_url`` (None: the OpenAI API). The key comes from the environment or a 0600 file.

    ``concurrency`` is how many requests are in flight at once, ``ledger`` the money: shared by all endpoints of a job.
    Raises UsageError or AlpacaError where key, prices or settings don't suffice. Nothing is sent before ``complete``.
    """

    def __init__(
        self, model: str, settings: EndpointConfig, concurrency: int = 8, ledger: Ledger | None = None
    ) -> None:
        self.name = model
        self.max_batch = settings.concurrency or concurrency
        self.ledger = ledger or Ledger()
        self.prices = None
        if settings.prompt_price is not None and settings.completion_price is not None:
            self.prices = Prices(settings.prompt_price, settings.completion_price)
        if self.ledger.limit is not None and self.prices is None:
            raise UsageError(
                f"a budget needs the prices of {model}: set prompt_price and completion_price (money for a million "
                "tokens) under [endpoint] in config.toml"
            )
        key = find_key(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

        async def connect() -> Caller:
            # Its own tries are off: ours are counted, recorded and within the limits. Ours is a timeout by token, too.
            client = openai.AsyncOpenAI(
                api_key=key.value,
                base_url=settings.base_url or "https://api.openai.com/v1",
                max_retries=0,
                timeout=httpx2.Timeout(None, connect=settings.connect_timeout),
            )
            url = settings.base_url or "the OpenAI API"
            return Caller(client, model, settings, key, self.prices, url)

        self._caller = self._wait(connect())

    def complete(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        cancelled: IsCancelled = never,
        *,
        on_done: OnDone | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See ``Backend.complete``. A request that fails for good is a completion with finish reason "error".

        Raises Paused before a request that the budget may not hold, after all in flight have been handed over.
        With prices, a stop waits up to ``DRAIN_S`` for what is in flight: it is paid for.
        """
        return _Session(self, on_text, cancelled, on_done, more).run(requests)

    def offers(self) -> list[str]:
        """The models that the server names. Raises AlpacaError in one sentence."""

        async def ask() -> list[str]:
            return [model.id async for model in self._caller.client.models.list()]

        try:
            return self._wait(ask())
        except (openai.OpenAIError, ValueError):
            return []

    @property
    def interface(self) -> str:
        """Which of the two interfaces is used, as far as is known: "chat" or "completions"."""
        return self._caller.api.name

    @property
    def unsupported(self) -> frozenset[str]:
        """Optional fields that the server turned out not to know."""
        return frozenset(self._caller.unsupported)

    def count_tokens(self, text: str) -> int:
        """A guess: an endpoint's tokenizer is not here."""
        return likely_tokens(text)

    def close(self) -> None:
        """Closes the connections; the backend is unusable afterwards."""
        if self._loop.is_closed():
            return
        self._wait(self._caller.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def fly(self, flight: _Flight, landed: Callable[[_Flight, Completion | BaseException], None]) -> None:
        """Start a request on the loop; ``landed`` is called there."""
        caller = self._caller

        def show(text: str, tokens: int) -> None:
            flight.text, flight.tokens = text, tokens

        async def go() -> None:
            result: Completion | BaseException
            try:
                result = await caller.complete(flight.request, flight.spent, show, lambda: self.afford(flight))
            except Failure as failure:
                if failure.action == "fail":
                    seconds = time.monotonic() - flight.began
                    result = caller.failed(flight.request, flight.spent, failure.sentence, seconds)
                else:
                    result = as_error(failure)
            except BaseException as error:
                result = error
            landed(flight, result)

        flight.future = asyncio.run_coroutine_threadsafe(go(), self._loop)

    def afford(self, flight: _Flight) -> bool:
        """Set aside what a request can still cost with one more try; False where the budget does not hold it."""
        params = flight.request.params
        worst = self.prices.worst(flight.request.prompt, params.max_new_tokens) if self.prices else 0.0
        return self.ledger.reserve(id(flight), self.spent_on(flight) + worst)

    def spent_on(self, flight: _Flight) -> float:
        """Money that a request has cost so far."""
        return self._caller.cost(flight.spent) or 0.0


class _Session:
    """One call of ``complete``: everything but the network happens here, in the caller's thread."""

    def __init__(
        self,
        backend: EndpointBackend,
        on_text: OnText | None,
        cancelled: IsCancelled,
        on_done: OnDone | None,
        more: More | None,
    ) -> None:
        self._backend, self._ledger = backend, backend.ledger
        self._on_text, self._cancelled, self._on_done, self._more = on_text, cancelled, on_done, more
        self._waiting: deque[_Flight] = deque()
        self._flying: dict[int, _Flight] = {}
        self._done: list[Completion | None] = []
        self._landed: queue.SimpleQueue[tuple[_Flight, Completion | BaseException]] = queue.SimpleQueue()
        self._ending: BaseException | None = None
        self._text_due = 0.0

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        try:
            self._add(requests)
            give_up = None
            while self._launch() or self._flying:
                if self._ending is None and self._cancelled():
                    self._ending = Cancelled()
                if self._ending is not None and give_up is None:
                    give_up = time.monotonic() + (DRAIN_S if self._worth_waiting() else 0.0)
                if give_up is not None and time.monotonic() >= give_up:
                    break
                self._collect()
                self._show()
            if self._ending is not None:
                raise self._ending
        finally:
            self._abandon()
        return [completion for completion in self._done if completion is not None]

    def _worth_waiting(self) -> bool:
        return self._backend.prices is not None or not isinstance(self._ending, Cancelled)

    def _add(self, requests: Sequence[Request]) -> None:
        for request in requests:
            _check(request)
            self._waiting.append(_Flight(len(self._done), request))
            self._done.append(None)

    def _launch(self) -> bool:
        """Start what there is room and money for; False where nothing waits any more (or may not start)."""
        while self._ending is None and self._waiting and len(self._flying) < self._backend.max_batch:
            flight = self._waiting[0]
            if not self._backend.afford(flight):
                if not self._flying:
                    self._ending = self._over_budget(flight)
                break
            self._waiting.popleft()
            flight.began = time.monotonic()
            self._flying[flight.index] = flight
            self._backend.fly(flight, lambda *landed: self._landed.put(landed))
        return self._ending is None and bool(self._waiting)

    def _over_budget(self, flight: _Flight) -> Paused:
        prices, request = self._backend.prices, flight.request
        worst = prices.worst(request.prompt, request.params.max_new_tokens) if prices else 0.0
        return Paused(
            f"the budget of {self._ledger.limit:g} does not hold another call: {self._ledger.spent:.6g} is spent and "
            f"the next may cost {worst:.6g}; resume with a larger one (alpaca-tui jobs resume ID --budget X)"
        )

    def _collect(self) -> None:
        try:
            flight, result = self._landed.get(timeout=TICK_S)
        except queue.Empty:
            return
        while True:
            self._land(flight, result)
            try:
                flight, result = self._landed.get_nowait()
            except queue.Empty:
                break
        free = self._backend.max_batch - len(self._flying) - len(self._waiting)
        if self._more is not None and self._ending is None and free > 0:
            self._add(self._more(free))

    def _land(self, flight: _Flight, result: Completion | BaseException) -> None:
        del self._flying[flight.index]
        self._ledger.settle(id(flight), self._backend.spent_on(flight))
        if isinstance(result, Completion):
            self._done[flight.index] = result
            if self._on_done is not None:
                self._on_done(flight.index, result)
        elif self._ending is None or isinstance(self._ending, Cancelled):
            known = isinstance(result, (AlpacaError, Cancelled))
            self._ending = (
                result if known else AlpacaError(f"the endpoint's client failed: {type(result).__name__}: {result}")
            )

    def _show(self) -> None:
        if self._on_text is None or time.monotonic() < self._text_due:
            return
        self._text_due = time.monotonic() + TEXT_INTERVAL
        for flight in list(self._flying.values()):
            if flight.tokens:
                self._on_text(flight.index, flight.text, flight.tokens)

    def _abandon(self) -> None:
        for flight in self._flying.values():
            if flight.future is not None:
                flight.future.cancel()
            self._ledger.settle(id(flight), self._backend.spent_on(flight))


def _check(request: Request) -> None:
    """Raises UsageError for what no endpoint takes."""
    params = request.params
    if not request.prompt:
        raise UsageError("an empty prompt cannot be sent to an endpoint")
    if not 0 <= params.temperature <= 2 or not 0 < params.top_p <= 1 or not -2 <= params.presence_penalty <= 2:
        raise UsageError(
            f"an endpoint takes temperature 0 to 2, top_p up to 1 and presence penalty -2 to 2, not "
            f"{params.temperature}, {params.top_p} and {params.presence_penalty}"
        )
    if params.max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, not {params.max_new_tokens}")
