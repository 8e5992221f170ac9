"""Requests that come while others are being answered: they take the free places, and change nobody's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.records import Request, SamplingParams

HEAD = "Come up with a series of tasks:\n" + "".join(
    f"Task {number}: Write one line about the number {number}.\n" for number in range(1, 9)
)
# The first two share two words more than the template has.
FIRST = [HEAD + "Task 9: Write one" + end for end in (" poem about the sea and the wind", " line")]
LATER = [HEAD + "Task 9:" + end for end in (" Write one letter", " Name three rivers", " Add 12 and 30", " Why?")]
STRANGER = "Once upon a time there was"
LIMITS = (3, 17, 9, 12, 5, 14, 8)


@pytest.fixture(scope="module")
def backend(tiny_llama_dir: Path) -> LocalBackend:
    return LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4)


def requests(temperature: float) -> list[Request]:
    prompts = [*FIRST, *LATER, STRANGER]
    return [
        Request(prompt, SamplingParams(temperature=temperature, top_p=0.9, max_new_tokens=limit), seed)
        for seed, (prompt, limit) in enumerate(zip(prompts, LIMITS, strict=True))
    ]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_who_comes_later_says_the_same_as_alone(backend: LocalBackend, temperature: float) -> None:
    asked = requests(temperature)
    alone = [backend.complete([request])[0].text for request in asked]
    left, in_flight_when_asked, active = asked[2:], [], set(range(2))

    def more(places: int) -> list[Request]:
        in_flight_when_asked.append(len(active))
        given = [left.pop(0) for _ in range(min(places, len(left)))]
        active.update(range(len(asked) - len(left) - len(given), len(asked) - len(left)))
        return given

    together = backend.complete(asked[:2], more=more, on_done=lambda index, _: active.discard(index))
    assert [completion.text for completion in together] == alone
    assert in_flight_when_asked[0] == 2, "the free places are filled at once, not when the others are done"


def test_rows_of_several_templates_share_a_batch(backend: LocalBackend) -> None:
    """Behind a prefix each, and behind none, coming and going in the middle: everybody says the same as alone."""
    other = "Is it a question?\n" + "".join(f"{number}? {number} is a number, so no.\n" for number in range(1, 30))
    prompts = [HEAD + "Task 9: Sing", HEAD + "Task 9: Add", other + "Why?", STRANGER, other + "Now.", HEAD + "Task 9:"]
    limits = (21, 9, 14, 17, 12, 8)
    asked = [
        Request(prompt, SamplingParams(temperature=0.0, max_new_tokens=limit), 0)
        for prompt, limit in zip(prompts, limits, strict=True)
    ]
    alone = [backend.complete([request])[0].text for request in asked]
    left = asked[2:]
    together = backend.complete(asked[:2], more=lambda places: [left.pop(0) for _ in range(min(places, len(left)))])
    assert [completion.text for completion in together] == alone
    assert backend._decoder.prefixes is not None
    assert len(backend._decoder.prefixes) >= 2, "each template was read once"


def test_short_answers_are_given_at_once(backend: LocalBackend) -> None:
    """A yes or no that comes while others write takes no step of theirs."""
    long, short = (SamplingParams(temperature=0.0, max_new_tokens=tokens) for tokens in (30, 3))
    left = [Request(HEAD + "Task 9: Say", short, 0)]
    order: list[int] = []
    backend.complete(
        [Request(HEAD + "Task 9: Sing", long, 0)],
        on_done=lambda index, _: order.append(index),
        more=lambda places: [left.pop()] if left else (),
    )
    assert order == [1, 0]


def test_a_backend_that_gets_no_more_asks_again_only_when_a_place_became_free(backend: LocalBackend) -> None:
    asked: list[int] = []
    backend.complete(requests(0.0)[:4], more=lambda places: asked.append(places) or ())
    assert len(asked) <= 5, "once at the beginning and after each of four ends"
