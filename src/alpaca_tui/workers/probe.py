"""What an endpoint offers, found out by one tiny request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alpaca_tui import config
from alpaca_tui.backends.endpoint import EndpointBackend
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.jobs import models
from alpaca_tui.jobs.endpoints import context_length

_TINY = Request("Is water wet? Answer Yes or No.\nAnswer:", SamplingParams(max_new_tokens=2), 0, (" Yes", " No"))


def probe(spec: str, project: Path) -> dict[str, Any]:
    """Ask once; raises AlpacaError with the reason where no answer comes.

    Keys: spec, model, interface, models (what the server names; empty: it doesn't say), context_length (None:
    unknown), counts_tokens, logprobs, refused (optional fields that it doesn't take), seconds, cost.
    """
    ref = models.resolve(spec, fetch=False)
    # One request has little patience: this is asked by a person who waits.
    settings = config.load(project).endpoint_for(ref.base_url, ref.section).model_copy(update={"tries": 2})
    backend = EndpointBackend(ref.name, settings, 1)
    try:
        answer = backend.complete([_TINY])[0]
        if answer.error is not None:
            raise AlpacaError(answer.error)
        return {
            "spec": spec,
            "model": ref.name,
            "interface": backend.interface,
            "models": backend.offers(),
            "context_length": context_length(project, ref),
            "counts_tokens": not answer.tokens_estimated,
            "logprobs": answer.choice_logprobs is not None,
            "refused": sorted(backend.unsupported),
            "seconds": round(answer.seconds, 3),
            "cost": answer.cost,
        }
    finally:
        backend.close()
