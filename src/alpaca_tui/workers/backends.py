"""The models of one run: each is opened when it is first asked, and two stay open only where both have room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from alpaca_tui.backends.base import Backend
from alpaca_tui.core.budget import Ledger
from alpaca_tui.jobs import hardware, models
from alpaca_tui.workers.models import open_backend

ROOM = 2.0
"""Bytes of free memory wanted for each byte of a further model's files: weights in fp32, caches, activations."""


class Backends:
    """Backends by SPEC. ``on_load`` is told the SPEC before a model is loaded (seconds to minutes)."""

    def __init__(
        self,
        batch: int | None,
        on_load: Callable[[str], None],
        project: Path | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._project, self._ledger = project, ledger
        self._batch, self._on_load = batch, on_load
        self._open: dict[str, Backend] = {}

    def get(self, spec: str) -> Backend:
        """The model's backend, loaded if need be. Raises AlpacaError with the reason where it can't be."""
        if spec not in self._open:
            if not all(together(spec, other) for other in self._open):
                self.close()
            self._on_load(spec)
            self._open[spec] = open_backend(spec, self._batch, project=self._project, ledger=self._ledger)
        return self._open[spec]

    def close(self) -> None:
        """Frees every model."""
        for backend in self._open.values():
            backend.close()
        self._open.clear()


def together(one: str, other: str) -> bool:
    """Whether two models can be held at once: an endpoint with anything, local ones only on a CPU with room for both.

    On a GPU the first one has taken what is free for its batches.
    """
    places = {spec: models.resolve(spec, fetch=False).path for spec in (one, other)}
    local = [path for path in places.values() if path is not None]
    if len(local) < 2:
        return True
    if hardware.visible_gpus():
        return False
    return sum(map(_weights, local)) * ROOM <= psutil.virtual_memory().available


def _weights(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))
