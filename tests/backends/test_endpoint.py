"""The endpoint backend against a real server with a tiny model, through a proxy that goes wrong on purpose."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_tui.backends.endpoint import EndpointBackend
from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.budget import Ledger
from alpaca_tui.core.errors import AlpacaError, Cancelled, Paused, UsageError
from alpaca_tui.core.records import Completion, Request, SamplingParams
from backends.serving import Proxy, served

KEY = "sk-test-0123456789abcdef"
PARAMS = SamplingParams(max_new_tokens=6)


@pytest.fixture(scope="module")
def server(tiny_llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(tiny_llama_dir, tmp_path_factory.mktemp("serve") / "log") as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    made = Proxy(server)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def settings(proxy: Proxy, **values: object) -> EndpointConfig:
    quick = {"first_token_timeout": 2.0, "token_timeout": 2.0, "connect_timeout": 0.1} | values
    return EndpointConfig.model_validate({"base_url": proxy.url} | quick)


@pytest.fixture
def ask(proxy: Proxy, tiny_llama_dir: Path):
    opened: list[EndpointBackend] = []

    def make(**values: object) -> EndpointBackend:
        ledger = values.pop("ledger", None)
        backend = EndpointBackend(str(tiny_llama_dir), settings(proxy, **values), 4, ledger)  # type: ignore[arg-type]
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def requests(count: int, **params: object) -> list[Request]:
    return [Request(f"Count to {n}:", SamplingParams(**({"max_new_tokens": 6} | params)), n) for n in range(count)]


def test_answers_come_in_order_with_the_servers_own_count(proxy: Proxy, ask) -> None:
    backend, texts, done = ask(), {}, []
    made = backend.complete(
        requests(6), lambda i, text, n: texts.setdefault(i, text), on_done=lambda i, c: done.append(i)
    )
    assert sorted(done) == list(range(6)) and len(made) == 6
    assert all(c.completion_tokens == 6 and c.finish_reason == "length" and not c.tokens_estimated for c in made)
    assert backend.interface == "completions" and all(c.prompt_tokens > 2 for c in made)
    assert 1 < proxy.most_in_flight <= 4
    assert sorted(body["seed"] for body in proxy.delivered) == list(range(6))
    again = backend.complete(requests(6))
    assert [c.text for c in again] == [c.text for c in made]


@pytest.mark.parametrize("fault", [*Proxy.FAULTS, "no-stream-options"])
def test_a_fault_is_outlived_and_nothing_is_lost_or_doubled(proxy: Proxy, ask, fault: str) -> None:
    want = ask().complete(requests(3))
    proxy.delivered.clear()
    proxy.script = [fault]
    done: list[int] = []
    made = ask().complete(requests(3), on_done=lambda i, c: done.append(i))
    assert sorted(done) == [0, 1, 2]
    assert [c.text for c in made] == [c.text for c in want]
    assert all(c.finish_reason == "length" and c.error is None for c in made)
    assert len(proxy.delivered) == 3


def test_a_server_that_names_a_pause_is_not_asked_before_it_is_over(proxy: Proxy, ask) -> None:
    proxy.script = ["429"]
    assert ask().complete(requests(1))[0].error is None
    first, second = proxy.arrived
    assert second - first >= 1.0, "Retry-After: 1"


@pytest.mark.parametrize("limit", [{"requests_per_minute": 1}, {"tokens_per_minute": 9}])
def test_no_more_is_asked_in_a_minute_than_the_settings_allow(proxy: Proxy, ask, limit: dict[str, int]) -> None:
    done: list[int] = []

    def waited() -> bool:
        """A while after the first answer: there was time for another request, had it been allowed."""
        return bool(done) and time.monotonic() > ended[0] + 1.0

    ended: list[float] = []

    def on_done(index: int, completion: Completion) -> None:
        done.append(index)
        ended.append(time.monotonic())

    with pytest.raises(Cancelled):
        ask(**limit).complete(requests(4), cancelled=waited, on_done=on_done)
    assert len(proxy.seen) == 1 == len(done)


def test_a_character_that_comes_in_halves_is_whole(proxy: Proxy, ask) -> None:
    proxy.script = ["halves"]
    shown: list[str] = []
    (made,) = ask().complete(requests(1), lambda i, text, n: shown.append(text))
    assert made.text == "\N{GRINNING FACE}"
    for text in shown:
        text.encode()


def test_a_request_that_keeps_failing_is_a_completion_that_says_why(proxy: Proxy, ask) -> None:
    proxy.choose = lambda: "500"
    (made,) = ask(tries=2).complete(requests(1))
    assert (made.finish_reason, made.text) == ("error", "")
    assert made.error is not None and "failed with 500 every time" in made.error
    assert len(proxy.seen) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("401", AlpacaError, "refuses the key: set OPENAI_API_KEY"),
        ("403", AlpacaError, "may not use"),
        ("quota", AlpacaError, "no credit left"),
        ("too-long", UsageError, "longer than .* allows .*maximum context length is 8"),
        ("429-bare", AlpacaError, "asked too often"),
    ],
)
def test_what_no_repetition_mends_stops_the_job_with_one_sentence(
    proxy: Proxy, ask, fault: str, kind: type, words: str
) -> None:
    proxy.choose = lambda: fault
    with pytest.raises(kind, match=words) as caught:
        ask(tries=2).complete(requests(1))
    assert "\n" not in str(caught.value)


def test_what_is_in_flight_when_the_job_stops_is_still_handed_over(proxy: Proxy, ask) -> None:
    proxy.script = ["slow", "slow", "403"]
    done: list[int] = []
    with pytest.raises(AlpacaError, match="may not use"):
        ask().complete(requests(3), on_done=lambda i, c: done.append(i))
    assert len(done) == 2 == len(proxy.delivered)


def test_an_unknown_model_and_a_dead_server_are_named(proxy: Proxy, server: int) -> None:
    backend = EndpointBackend("nobody/nothing", settings(proxy), 1)
    with pytest.raises(AlpacaError, match="has no model nobody/nothing"):
        backend.complete(requests(1))
    backend.close()
    proxy.close()
    backend = EndpointBackend("any", settings(proxy, tries=2), 1)
    with pytest.raises(AlpacaError, match=r"127\.0\.0\.1:\d+/v1 cannot be reached"):
        backend.complete(requests(1))
    backend.close()


def test_every_stop_string_cuts_though_the_server_is_told_of_four(proxy: Proxy, ask) -> None:
    (free,) = ask().complete([Request("Once upon", SamplingParams(max_new_tokens=24), 0)])
    stop = free.text[8:12]
    stops = ("¶a", "¶b", "¶c", "¶d", stop)
    (cut,) = ask().complete([Request("Once upon", SamplingParams(max_new_tokens=24, stop=stops), 0)])
    assert cut.text == free.text[: free.text.find(stop)]
    assert (cut.finish_reason, cut.stopped_by) == ("stop", stop)
    assert proxy.seen[-1]["stop"] == list(stops[:4])


def test_the_chat_interface_is_used_where_it_is_asked_for_or_the_other_is_missing(proxy: Proxy, ask) -> None:
    backend = ask(api="chat")
    (made,) = backend.complete(requests(1))
    assert "messages" in proxy.seen[-1] and made.completion_tokens == 6
    proxy.script = ["404"]
    probing = ask()
    assert probing.complete(requests(1))[0].text == made.text
    assert probing.interface == "chat"


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_that_tells_log_probabilities_gives_classification_its_margin(proxy: Proxy, ask, api: str) -> None:
    backend = ask(api=api)
    question = Request("Is it classification? Answer:", SamplingParams(max_new_tokens=3), 1, (" Yes", " No"))
    assert backend.complete([question])[0].choice_logprobs is None, "transformers serve tells none"
    proxy.script = ["logprobs"]
    (told,) = backend.complete([question])
    asked = proxy.seen[-1]
    assert asked["top_logprobs"] == 20 if api == "chat" else asked["logprobs"] == 5
    # Both spellings of Yes count; No has one.
    yes, no = told.choice_logprobs or (0.0, 0.0)
    assert yes == pytest.approx(math.log(math.exp(-1.5) + math.exp(-2.0)))
    assert no == pytest.approx(-0.5)


def test_more_fills_the_places_that_became_free(proxy: Proxy, ask) -> None:
    left = requests(12)

    def more(places: int) -> list[Request]:
        return [left.pop(0) for _ in range(min(places, len(left)))]

    first = more(2)
    made = ask().complete(first, more=more)
    assert len(made) == 12 == len(proxy.delivered) and proxy.most_in_flight <= 4
    assert sorted(b["seed"] for b in proxy.delivered) == list(range(12))


def test_the_budget_is_never_exceeded_and_what_is_paid_is_handed_over(proxy: Proxy, ask) -> None:
    prices = {"prompt_price": 1e4, "completion_price": 1e5}
    ledger, done = Ledger(limit=8.0), []
    proxy.script = ["cut", None, "500"]
    with pytest.raises(Paused, match="the budget of 8 does not hold another call"):
        ask(ledger=ledger, **prices).complete(requests(60), on_done=lambda i, c: done.append(c))
    assert sum(c.cost for c in done) == pytest.approx(ledger.spent)
    assert 0 < ledger.spent <= 8.0
    assert ledger.reserved == 0
    assert len(proxy.delivered) == len([c for c in done if c.error is None]) > 2


def test_a_budget_of_nothing_sends_nothing_and_one_without_prices_is_refused(proxy: Proxy, ask) -> None:
    with pytest.raises(Paused):
        ask(ledger=Ledger(limit=0.0), prompt_price=1, completion_price=1).complete(requests(1))
    assert proxy.seen == []
    with pytest.raises(UsageError, match="a budget needs the prices"):
        ask(ledger=Ledger(limit=5.0))


def test_a_stop_ends_a_free_call_at_once_and_waits_for_a_paid_one(proxy: Proxy, ask) -> None:
    proxy.choose = lambda: "slow"
    with pytest.raises(Cancelled):
        ask().complete(requests(2), cancelled=lambda: bool(proxy.seen))
    done: list[Completion] = []
    proxy.seen.clear()
    paid = ask(prompt_price=1, completion_price=1)
    with pytest.raises(Cancelled):
        paid.complete(requests(2), cancelled=lambda: len(proxy.seen) == 2, on_done=lambda i, c: done.append(c))
    assert len(done) == 2


def test_the_key_is_sent_and_told_to_nobody(
    proxy: Proxy, ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = ask()
    assert len(backend.complete(requests(1))) == 1
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "-wrong")
    with pytest.raises(AlpacaError, match="refuses the key") as caught:
        ask().complete(requests(1))
    shown = [str(caught.value), repr(caught.value), repr(backend), repr(backend._caller), *capfd.readouterr()]
    assert not any(KEY in text for text in shown)


def test_a_key_file_must_be_private_and_a_missing_key_is_named(proxy: Proxy, ask, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        ask(key_file=str(path))
    path.chmod(0o600)
    proxy.key = KEY
    assert ask(key_file=str(path)).complete(requests(1))[0].error is None
    with pytest.raises(AlpacaError, match="set the environment variable MY_KEY"):
        ask(key_variable="MY_KEY")
    with pytest.raises(AlpacaError, match="set the environment variable OPENAI_API_KEY"):
        EndpointBackend("gpt-3.5-turbo", EndpointConfig(), 1)
