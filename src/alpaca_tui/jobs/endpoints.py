"""Endpoints looked at before a job is made of them: their section, prices, key, and how much their models can read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from alpaca_tui import config
from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.errors import UsageError
from alpaca_tui.jobs import models
from alpaca_tui.jobs.models import ModelRef
from alpaca_tui.keys import NO_KEY, find_key

CONTEXT_FIELDS = ("max_model_len", "context_length", "max_context_length", "context_window")
"""How servers name it in their list of models: vLLM and SGLang the first way, hosted ones one of the others."""

_PATIENCE_S = 5.0
_MOST_BYTES = 4_000_000


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


def context_length(project: Path, ref: ModelRef) -> int | None:
    """Tokens that prompt and answer may have together at an endpoint: as config.toml says, else the server's own list.

    None where neither says it, or the server does not answer. Raises AlpacaError where there is no key for it.
    """
    section = config.load(project).endpoint_for(ref.base_url, ref.section)
    key = find_key(section)
    if section.context_length is not None or section.base_url is None:
        return section.context_length
    return _listed(_models(section, key.value), ref.name)


def _listed(entries: list[Any], name: str) -> int | None:
    named = [entry for entry in entries if isinstance(entry, Mapping) and entry.get("id") == name]
    for entry in named:
        found = [entry.get(field) for field in CONTEXT_FIELDS]
        sound = [value for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0]
        if sound:
            return sound[0]
    return None


def _models(section: EndpointConfig, key: str) -> list[Any]:
    """What ``GET /models`` lists; nothing where it cannot be had: the run itself will say why."""
    # Imported here: the cockpit starts without it.
    from urllib.error import URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        """Follows no redirect: the key is for this server alone."""

        def redirect_request(self, *_: Any) -> None:
            return None

    assert section.base_url is not None
    headers = {} if key == NO_KEY else {"Authorization": f"Bearer {key}"}
    request = Request(f"{section.base_url.rstrip('/')}/models", headers=headers)
    try:
        with build_opener(Stay).open(request, timeout=min(_PATIENCE_S, section.connect_timeout)) as answer:
            value = json.loads(answer.read(_MOST_BYTES))
    except (URLError, HTTPException, OSError, ValueError, RecursionError):
        return []
    entries = value.get("data") if isinstance(value, dict) else value
    return entries if isinstance(entries, list) else []
