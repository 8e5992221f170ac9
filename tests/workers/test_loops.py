"""A completion that goes round in circles is ended early, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.looping import SHORTEST_TAIL, loop_start
from alpaca_tui.core.records import Completion, Request, SamplingParams

PROMPT = "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha"
STEADY = "List of numbers: 1, 2, 3, 4, 5, 6, 7,"


@pytest.fixture(scope="module")
def backend(embedded_model_dir: Path) -> LocalBackend:
    return LocalBackend(embedded_model_dir, dtype="float32", max_batch=2)


def complete(backend: LocalBackend, max_repeats: int) -> list[Completion]:
    params = SamplingParams(max_new_tokens=120, max_repeats=max_repeats)
    return backend.complete([Request(PROMPT, params, 0), Request(STEADY, params, 0)])


def test_a_loop_ends_with_its_own_reason_and_other_rows_go_on(backend: LocalBackend) -> None:
    whole, steady = complete(backend, 0)
    assert whole.finish_reason == "length"
    short, other = complete(backend, 4)
    assert short.finish_reason == "loop"
    assert SHORTEST_TAIL <= short.completion_tokens < whole.completion_tokens
    assert whole.text.startswith(short.text)
    assert other.text == steady.text
    assert other.finish_reason == steady.finish_reason


def test_it_ends_where_the_tokens_say(backend: LocalBackend) -> None:
    whole, _ = complete(backend, 0)
    short, _ = complete(backend, 4)
    tokens = backend.tokenizer(PROMPT + whole.text)["input_ids"][whole.prompt_tokens :]
    assert short.completion_tokens == loop_start(tokens, 4)
