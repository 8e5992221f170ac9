"""Can this machine do the work? One line a check: ok, warn or fail, why, and what to type. Pure decisions on facts."""

from __future__ import annotations

from collections.abc import Callable

from alpaca_tui.core import doctor_gpu, doctor_host
from alpaca_tui.core.doctor_check import Check, Level
from alpaca_tui.core.machine_facts import MachineFacts

CHECKS: tuple[Callable[[MachineFacts], Check], ...] = (
    doctor_gpu.driver,
    doctor_gpu.gpus,
    doctor_gpu.busy,
    doctor_gpu.torch_build,
    doctor_gpu.arithmetic,
    doctor_gpu.precision,
    doctor_gpu.nccl,
    doctor_gpu.bitsandbytes,
    doctor_host.ram,
    doctor_host.disk,
    doctor_host.shared_memory,
    doctor_host.sqlite,
    doctor_host.model,
    doctor_host.terminal,
    doctor_host.charset,
    doctor_host.clipboard,
    doctor_host.logout,
    doctor_host.clock,
)
"""Every check, in the order of the report."""


def examine(facts: MachineFacts) -> list[Check]:
    """All checks on one machine."""
    return [check(facts) for check in CHECKS]


def verdict(checks: list[Check]) -> Level:
    """The worst level among them."""
    levels = {check.level for check in checks}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"
