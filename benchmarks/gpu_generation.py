"""Decoding on a GPU against its memory bandwidth: LLaMA-7B's shape with random weights, at batch 1, 8 and 32.

Run: ``python benchmarks/gpu_generation.py [--tokens 128] [--prompt 512] [--layers 32]``. Without a GPU it says so and
ends with code 1. The roofline: each step reads all weights once and every row's keys and values; bandwidth is measured
by a copy on the same GPU, not taken from a data sheet. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.jobs.models import ensure_embedded

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def bandwidth() -> float:
    """Bytes per second that the GPU reads and writes, by copying 2 GiB."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(8):
        target.copy_(source)
    torch.cuda.synchronize()
    return 8 * 2 * 2**31 / (time.perf_counter() - began)


def make_model(folder: Path, layers: int) -> None:
    """LLaMA-7B with random weights, in half precision, beside the embedded model's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer_of = ensure_embedded()
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=49_152,
        hidden_size=4096,
        intermediate_size=11_008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        LlamaForCausalLM(shape).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    torch.cuda.empty_cache()
    for name in TOKENIZER_FILES:
        (folder / name).write_bytes((tokenizer_of / name).read_bytes())


def measure(backend: LocalBackend, rows: int, prompt_tokens: int, tokens: int, read: float) -> dict[str, Any]:
    """Tokens/s of one batch of ``rows``, its prompts different from the first word, and the roofline's."""
    words = [" ".join(f"{row} word {n}" for n in range(prompt_tokens)) for row in range(rows)]
    prompts = [backend.tokenizer.decode(backend.tokenizer(text)["input_ids"][:prompt_tokens]) for text in words]
    backend.max_batch = rows
    first: list[float] = []

    def on_text(index: int, text: str, count: int) -> None:
        first.append(time.perf_counter())

    params = SamplingParams(temperature=0.7, top_p=0.9, presence_penalty=2.0, max_new_tokens=tokens)
    requests = [Request(prompt, params, seed) for seed, prompt in enumerate(prompts)]
    backend.complete([Request(r.prompt, SamplingParams(max_new_tokens=4), r.seed) for r in requests])  # warm up
    torch.cuda.synchronize()
    began = time.perf_counter()
    done = backend.complete(requests, on_text)
    torch.cuda.synchronize()
    ended = time.perf_counter()
    made = sum(completion.completion_tokens for completion in done)
    config = backend.model.config
    weights = sum(p.numel() * p.element_size() for p in backend.model.parameters())
    per_token = 2 * config.num_hidden_layers * config.hidden_size * backend.dtype.itemsize
    step = (weights + rows * (prompt_tokens + tokens / 2) * per_token) / read
    decoding = ended - (first[0] if first else began)
    return {
        "tokens_per_s": round(made / (ended - began), 1),
        "decode_tokens_per_s": round((made - rows) / decoding, 1),
        "roofline_tokens_per_s": round(rows / step, 1),
        "share_of_roofline": round((made - rows) / decoding * step / rows, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--layers", type=int, default=32)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("this benchmark needs a GPU that torch can use, and there is none here", file=sys.stderr)
        return 1
    read = bandwidth()
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "bandwidth_gb_s": round(read / 1e9)}
    torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), args.layers)
        backend = LocalBackend(folder)
        found["dtype"] = str(backend.dtype)
        for rows in (1, 8, 32):
            found[f"batch_{rows}"] = measure(backend, rows, args.prompt, args.tokens, read)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
