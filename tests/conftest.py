"""Models for every test: the embedded one, made once into the user's cache, and a tiny random LLaMA."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_tui.jobs.models import ensure_embedded
from random_models import save_random


@pytest.fixture(scope="session")
def embedded_model_dir() -> Path:
    """The embedded model's directory; the first run on a machine downloads and converts it."""
    return ensure_embedded()


@pytest.fixture(scope="session")
def tiny_llama_dir(embedded_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaMA (hidden 64, 2 layers, grouped-query attention) with the embedded model's tokenizer."""
    return save_random(tmp_path_factory.mktemp("tiny-llama"), embedded_model_dir)
