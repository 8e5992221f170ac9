"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: ``what`` was found, ``why`` it matters, and ``do``, the command that mends it."""

    name: str
    level: Level
    what: str
    why: str = ""
    do: str = ""
