"""Tiny models with random weights, and what transformers makes a model say: the reference of the local backend."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def save_random(folder: Path, tokenizer_from: Path, family: str = "Llama", *, seed: int = 0, **more: Any) -> Path:
    """A model of two layers, four heads and two for keys and values, with another's tokenizer of 49,152 tokens."""
    import torch
    import transformers

    torch.manual_seed(seed)
    options = {
        "vocab_size": 49_152,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "initializer_range": 0.3,  # wide enough that greedy choices are no near-ties
        "tie_word_embeddings": False,
    }
    config = getattr(transformers, f"{family}Config")(**(options | more))
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_from / name, folder / name)
    return folder


def greedy_reference(folder: Path, prompt: str, tokens: int) -> str:
    """What transformers itself generates greedily, one prompt at a time, in fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoded = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(**encoded, do_sample=False, max_new_tokens=tokens)[0]
    return str(tokenizer.decode(ids[encoded["input_ids"].shape[1] :], skip_special_tokens=True))
