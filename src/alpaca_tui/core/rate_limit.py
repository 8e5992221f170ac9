"""How fast an endpoint may be asked, and how long to wait after it refused: pure, the caller brings the time."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BACKOFF_BASE_S = 0.5
BACKOFF_LIMIT_S = 30.0


class TokenBucket:
    """At most ``per_minute`` units a minute, a full bucket at once; ``now`` in seconds on any clock that only grows."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60.0
        self._capacity = float(per_minute)
        self._level = self._capacity
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken. More than the bucket ever holds may be taken once it is full."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        # What is left of a wait by rounding must not become another one.
        return missing / self._rate if missing > 1e-6 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take ``amount``, also below zero (what comes next waits for it); a negative one gives back."""
        self._fill(now)
        self._level = min(self._capacity, self._level - amount)

    def _fill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)


class RateLimit:
    """Requests and tokens a minute together, and the pause that a server asked for; None: no such limit."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float) -> None:
        self._requests = TokenBucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute, now) if tokens_per_minute else None
        self._held_until = now

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request of so many tokens may be sent; 0: now."""
        waits = [self._held_until - now]
        if self._requests:
            waits.append(self._requests.wait(1, now))
        if self._tokens:
            waits.append(self._tokens.wait(tokens, now))
        return max(0.0, *waits)

    def take(self, tokens: float, now: float) -> None:
        """A request of so many tokens is being sent."""
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def correct(self, guessed: float, used: float, now: float) -> None:
        """It took ``used`` tokens where ``guessed`` had been taken."""
        if self._tokens:
            self._tokens.take(used - guessed, now)

    def hold(self, seconds: float, now: float) -> None:
        """Nothing is sent for so long: the server said so."""
        self._held_until = max(self._held_until, now + seconds)


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds before try ``attempt`` + 1 (the first is 1): doubling, between half and the whole of it by chance.

    Half of it is sure, so that a server in trouble is not asked again at once; the rest spreads those who wait.
    """
    whole = min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2.0 ** min(attempt, 30))
    return whole * rng.uniform(0.5, 1.0)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds or a date); None: nothing said."""
    if header is None or not header.strip():
        return None
    text = header.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())
