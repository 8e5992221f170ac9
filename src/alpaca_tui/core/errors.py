"""The errors that a user meets: one clear sentence each, and the exit code that goes with it."""

from __future__ import annotations

LOST_PEERS = "the connection to another process of this training was lost"
"""How a process of several says that another one is gone; why that one went is the better reason, where it is known."""


class AlpacaError(Exception):
    """Something failed for a reason that the user can be told in one sentence (exit code 1).

    The message says what happened, where, and how to mend it. The command line prints it without a traceback.
    """

    exit_code = 1


class UsageError(AlpacaError):
    """The request itself is wrong: an unknown name, a value out of range (exit code 2)."""

    exit_code = 2


class RefusedError(AlpacaError):
    """A check (doctor, plan, a gate) refused to go on (exit code 3)."""

    exit_code = 3


class Cancelled(Exception):
    """A stop was asked for while work was in flight; nothing half-done may be stored."""


class Paused(AlpacaError):
    """The work must not go on by itself (a budget is used up), but can: the job is stopped with this reason."""
