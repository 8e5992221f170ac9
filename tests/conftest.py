"""Models for every test: the embedded one, made once into the user's cache, and a tiny random LLaMA."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alpaca_tui.jobs.models import ensure_embedded

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture(scope="session")
def embedded_model_dir() -> Path:
    """The embedded model's directory; the first run on a machine downloads and converts it."""
    return ensure_embedded()


@pytest.fixture(scope="session")
def tiny_llama_dir(embedded_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaMA (hidden 64, 2 layers, grouped-query attention) with the embedded model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.3,  # wide enough that greedy choices are no near-ties
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(embedded_model_dir / name, folder / name)
    return folder
