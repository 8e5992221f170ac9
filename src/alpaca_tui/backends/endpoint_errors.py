"""What to do about each error of an endpoint: one table, the first row that fits counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import openai

from alpaca_tui.core.rate_limit import retry_after
from alpaca_tui.core.text import clean_text, one_line

Action = Literal["retry", "fail", "stop"]
"""Ask again; record this request as failed; end the job."""

LONGEST_WAIT_S = 600.0
"""A server that asks for a longer pause is not waited for."""


class BrokenAnswer(Exception):
    """The server answered, but not with a whole completion."""


class Refused(Exception):
    """The server answered that it will not answer this prompt."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the table sees it: HTTP ``status`` (0 without an answer), code and message in lower case."""

    status: int
    code: str
    said: str
    error: BaseException

    def mentions(self, *words: str) -> bool:
        """Whether code or message contain one of the words."""
        return any(word in self.code or word in self.said for word in words)


@dataclass(frozen=True, slots=True)
class Row:
    """``at_last`` is what is done when all tries are used up; ``sentence`` may name {model}, {url}, {key}, {said}."""

    name: str
    fits: Callable[[Fault], bool]
    action: Action
    sentence: str
    at_last: Action = "fail"


TABLE: tuple[Row, ...] = (
    Row("key", lambda f: f.status == 401, "stop", "{url} refuses the key: set {key} to a valid one"),
    Row(
        "quota",
        lambda f: f.mentions("insufficient_quota", "billing_hard_limit", "exceeded your current quota"),
        "stop",
        "the account at {url} has no credit left (insufficient_quota): top it up",
    ),
    Row("payment", lambda f: f.status == 402, "stop", "{url} asks for payment: look at the account's balance"),
    Row("permission", lambda f: f.status == 403, "stop", "the key in {key} may not use {model} at {url}"),
    Row(
        "model",
        lambda f: (
            f.mentions("model_not_found", "pinned to", "no such model")
            or (
                f.status in (400, 404)
                and f.mentions("model")
                and f.mentions("not found", "does not exist", "not exist")
            )
        ),
        "stop",
        "{url} has no model {model} ({said}); ask it for its models with: alpaca-tui models check SPEC",
    ),
    Row(
        "too long",
        lambda f: (
            f.status in (400, 413, 422)
            and f.mentions(
                "context_length", "context length", "context size", "maximum context", "too long", "too many tokens"
            )
        ),
        "stop",
        "a prompt and its answer are longer than {model} allows ({said}); show fewer demonstrations or lower "
        "max_new_tokens",
    ),
    Row("refused", lambda f: isinstance(f.error, Refused), "fail", "{said}"),
    Row("path", lambda f: f.status in (404, 405), "stop", "{url} offers no such interface ({said}): check the address"),
    Row("content", lambda f: f.mentions("content_filter", "content_policy"), "fail", "the provider refused: {said}"),
    Row("busy", lambda f: f.status == 429, "retry", "{url} keeps saying that it is asked too often ({said})", "stop"),
    Row("again", lambda f: f.status in (408, 409, 425), "retry", "{url} answered {status} every time: {said}"),
    Row("server", lambda f: f.status >= 500, "retry", "{url} failed with {status} every time: {said}"),
    Row("request", lambda f: f.status >= 400, "stop", "{url} does not accept the request ({status}): {said}"),
    Row(
        "slow",
        lambda f: isinstance(f.error, (openai.APITimeoutError, TimeoutError)),
        "retry",
        "{url} did not answer in time, try after try",
    ),
    Row(
        "connection",
        lambda f: isinstance(f.error, openai.APIConnectionError),
        "retry",
        "{url} cannot be reached: is the server running there?",
        "stop",
    ),
    Row(
        "broken",
        lambda f: isinstance(f.error, (BrokenAnswer, openai.APIError, json.JSONDecodeError)),
        "retry",
        "{url} sent broken answers, try after try ({said})",
    ),
)


def fault(error: BaseException) -> Fault:
    """The error as the table reads it."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else 0
    code = str(getattr(error, "code", None) or getattr(error, "type", None) or "")
    body = getattr(error, "body", None)
    text = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    said = one_line(clean_text(str(text or error or type(error).__name__)))[:300]
    return Fault(status, code.lower(), said.lower(), error)


def row_for(found: Fault) -> Row | None:
    """The table's row; None for what no endpoint can do: an error of our own."""
    return next((row for row in TABLE if row.fits(found)), None)


def wait_asked(error: BaseException) -> float | None:
    """Seconds that the server asks to wait; None: it does not say."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (429, 503):
        return None
    return retry_after(error.response.headers.get("retry-after"), datetime.now(UTC))
