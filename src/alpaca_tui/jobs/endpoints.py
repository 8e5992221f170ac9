"""Endpoints looked at before a job is made of them: their section, their prices, their key's variable."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from alpaca_tui import config
from alpaca_tui.core.errors import UsageError
from alpaca_tui.jobs import models


def check_endpoints(project: Path, specs: Iterable[str], budget: float | None, workers: int | None) -> None:
    """Raises UsageError for a SPEC whose section is missing and for a budget without prices or over several workers."""
    refs = [ref for ref in (models.resolve(spec, fetch=False) for spec in specs) if ref.kind == "openai"]
    if budget is not None and not refs:
        raise UsageError("a budget is for endpoints; a local model costs nothing")
    if budget is not None and workers is not None and workers > 1:
        raise UsageError("a budget is kept by one worker, which asks many things at once; leave --workers out")
    settings = config.load(project)
    for ref in refs:
        section = settings.endpoint_for(ref.base_url, ref.section)
        if budget is not None and section.prompt_price is None:
            raise UsageError(
                f"a budget needs the prices of {ref.spec}: set prompt_price and completion_price (money for a million "
                "tokens) under [endpoint] in config.toml"
            )
