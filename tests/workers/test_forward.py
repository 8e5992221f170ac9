"""Our own pass through LLaMA-like models, and transformers' for the others: both say what transformers says."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from alpaca_tui.backends import attention, attention_cpu, block, kernels
from alpaca_tui.backends.block import Block
from alpaca_tui.backends.forward import LlamaForward, TransformersForward, is_like_llama
from alpaca_tui.backends.kvcache import Group, Prefix, RowCache
from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.records import Request, SamplingParams
from random_models import greedy_reference, save_random

HEAD = "Come up with a series of tasks:\n" + "".join(
    f"Task {at}: Write about the number {at}.\n" for at in range(1, 12)
)
PROMPTS = [HEAD + "Task 12:", HEAD + "Task 12: Give three", "Once upon a time", HEAD + "Task 12: Why is the sky blue?"]
LIMITS = (60, 5, 33, 12)


@pytest.mark.parametrize(
    ("family", "more", "kind"),
    [
        ("Llama", {}, LlamaForward),
        ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, LlamaForward),
        ("Llama", {"head_dim": 32}, LlamaForward),
        ("Mistral", {"sliding_window": None}, LlamaForward),
        ("Qwen2", {}, LlamaForward),
        ("Qwen3", {"head_dim": 16}, TransformersForward),
    ],
)
@pytest.mark.parametrize("fuses", [True, False])
def test_every_family_says_what_transformers_makes_it_say(
    tmp_path: Path,
    tiny_llama_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    more: dict[str, Any],
    kind: type,
    fuses: bool,
) -> None:
    """With the CPU's kernels, and by torch's operations as on a GPU."""
    if not fuses:
        monkeypatch.setattr(kernels, "can_fuse", lambda dtype, device: False)
    folder = save_random(tmp_path, tiny_llama_dir, family, seed=2, **more)
    backend = LocalBackend(folder, dtype="float32", max_batch=3)
    assert type(backend._decoder.forward) is kind
    requests = [
        Request(prompt, SamplingParams(temperature=0.0, max_new_tokens=limit), 0)
        for prompt, limit in zip(PROMPTS, LIMITS, strict=True)
    ]
    expected = [greedy_reference(folder, prompt, limit) for prompt, limit in zip(PROMPTS, LIMITS, strict=True)]
    assert [completion.text for completion in backend.complete(requests)] == expected
    assert [backend.complete([request])[0].text for request in requests] == expected


def test_layers_that_cannot_be_joined_go_through_transformers(tiny_llama_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    assert is_like_llama(model)
    model.model.layers[1].self_attn.k_proj.bias = torch.nn.Parameter(torch.zeros(32))
    assert not is_like_llama(model), "a bias beside none"
    model.model.layers[1].self_attn.k_proj.bias = None
    model.config.rope_parameters["partial_rotary_factor"] = 0.5
    assert not is_like_llama(model), "heads of which only a part is turned"
    del model.config.rope_parameters["partial_rotary_factor"]
    assert is_like_llama(model)
    model.model.layers[0].mlp.up_proj = torch.nn.Identity()
    assert not is_like_llama(model), "no plain linear layer"


def test_half_precision_stays_close_to_single(tiny_llama_dir: Path) -> None:
    """Packed or not, the first tokens' chances in bfloat16 are those in fp32 up to its rounding."""
    choices = (" Yes", " No", " Maybe")
    params = SamplingParams(temperature=0.0, max_new_tokens=2)
    requests = [Request(prompt, params, 0, choices) for prompt in PROMPTS]
    found = {}
    for dtype in ("float32", "bfloat16"):
        completions = LocalBackend(tiny_llama_dir, dtype=dtype, max_batch=4).complete(requests)
        found[dtype] = torch.tensor([completion.choice_logprobs for completion in completions])
        assert [completion.completion_tokens for completion in completions] == [1] * 4, "nothing is asked beyond"
        assert {completion.finish_reason for completion in completions} <= {"stop", "eos"}
    torch.testing.assert_close(found["bfloat16"], found["float32"], atol=0.5, rtol=0.05)


@pytest.mark.parametrize("waste", [0, 10**9])
def test_blocks_that_part_and_unite_change_nobody_s_text(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch, waste: int
) -> None:
    """Without any waste allowed rows part at every block's end and unite with equals; with all, they never part."""
    monkeypatch.setattr(block, "_WASTE", {"cpu": waste})
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=6)
    parted: list[int] = []
    split_off = Block.split_off

    def counted(self: Block, rows: Sequence[int]) -> Block:
        parted.append(len(rows))
        return split_off(self, rows)

    monkeypatch.setattr(Block, "split_off", counted)
    limits = (150, 8, 70, 40, 5, 110, 30, 60, 9, 45)
    requests = [
        Request(PROMPTS[at % 4] + " and" * at, SamplingParams(temperature=0.0, max_new_tokens=limit), at)
        for at, limit in enumerate(limits)
    ]
    together = [completion.text for completion in backend.complete(requests)]
    assert bool(parted) == (waste == 0)
    assert together == [backend.complete([request])[0].text for request in requests]


@pytest.mark.parametrize("seed", range(6))
def test_a_block_keeps_every_row_s_own_columns(seed: int) -> None:
    """Against plain lists: rows come, grow, leave, part and unite, and each keeps what was its own."""
    rng = random.Random(seed)
    layers, heads, width = 2, 2, 4
    told = iter(range(1, 10**6))
    history: dict[int, list[int]] = {}

    def states(numbers: Sequence[int], layer: int) -> torch.Tensor:
        """Keys that say which token, layer and head they are of."""
        base = torch.tensor(numbers, dtype=torch.float64)[:, None, None]
        return (base + 0.1 * layer + 0.01 * torch.arange(heads)[:, None]).expand(-1, heads, width).contiguous()

    def fresh(count: int) -> Block:
        lengths = [rng.randrange(1, 70) for _ in range(count)]
        names = [next(told) for _ in range(count)]
        for name, length in zip(names, lengths, strict=True):
            history[name] = [next(told) for _ in range(length)]
        made = Block(lengths, names)  # type: ignore[arg-type]
        for layer in range(layers):
            flat = states([token for name in names for token in history[name]], layer)
            made.fill(flat, -flat)
        return made

    def check(blocks: Sequence[Block]) -> None:
        for one in blocks:
            one.begin_step()
            tokens = [next(told) for _ in one.rows]
            for layer in range(layers):
                one.append(layer, states(tokens, layer), -states(tokens, layer))
            for place, (name, token) in enumerate(zip(one.rows, tokens, strict=True)):
                own = history[name]  # type: ignore[index]
                own.append(token)
                shown = (one.mask[place * heads, 0] == 0).nonzero()[:, 0].tolist()
                assert shown == list(range(len(own))), "a row sees its own columns and no other"
                for layer in range(layers):
                    kept = one.keys[layer].view(len(one), heads, one.columns, width)[place, :, : len(own)]
                    assert torch.equal(kept.transpose(0, 1), states(own, layer))
                    assert torch.equal(one.values[layer].view_as(one.keys[layer]), -one.keys[layer])

    blocks = [fresh(rng.randrange(1, 6))]
    for _ in range(60):
        check(blocks)
        one = rng.choice(blocks)
        act = rng.random()
        if act < 0.25:
            one.keep(sorted(rng.sample(range(len(one)), rng.randrange(1, len(one) + 1))))
        elif act < 0.45:
            one.take_in(fresh(rng.randrange(1, 4)))
        elif act < 0.6 and len(one) > 1:
            blocks.append(one.split_off(rng.sample(range(len(one)), rng.randrange(1, len(one)))))
        elif act < 0.7 and len(blocks) > 1:
            other = next(each for each in blocks if each is not one)
            one.take_in(other)
            blocks.remove(other)


def test_a_cache_that_nobody_needs_is_freed_at_once() -> None:
    """Not when the garbage collector comes by: the buffers of a read are large."""
    group = Group(None, [Block([3])])
    cache = RowCache(2, [group])
    cache.store(0, torch.zeros(3, 1, 2), torch.zeros(3, 1, 2))
    seen = weakref.ref(group)
    del group
    gc.disable()
    try:
        assert seen() is not None
        del cache
        assert seen() is None
    finally:
        gc.enable()


def test_the_longest_rows_are_parted_where_that_saves_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_WASTE", {"cpu": 0})

    def of(*lengths: int) -> Block:
        made = Block(lengths)
        made.fill(torch.zeros(sum(lengths), 1, 2), torch.zeros(sum(lengths), 1, 2))
        return made

    assert of(20, 300, 21, 310, 22).longest() == [3, 1]
    assert of(300, 301).longest() == [], "what needs as many columns stays together"
    assert of(5).longest() == []


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("lengths", [(7,), (5, 9, 3), (300, 4, 140), (600, 520)])
def test_prompts_are_read_alike_on_every_device(behind: bool, lengths: tuple[int, ...]) -> None:
    """The CPU's way and the other one, on the CPU, against attention written out, with three queries to a key."""
    torch.manual_seed(5)
    tokens, heads, groups, width, shared = sum(lengths), 2, 3, 8, 33
    query = torch.randn(tokens, heads * groups, width, dtype=torch.float64)
    key, value = torch.randn(2, tokens, heads, width, dtype=torch.float64)
    prefix = None
    if behind:
        keys, values = torch.randn(2, 1, heads, shared, width, dtype=torch.float64)
        prefix = Prefix(tuple(range(shared)), [keys], [values])
    group = Group(prefix, [Block(lengths)])
    expected = []
    for asking, asked, told in zip(*(each.split(lengths) for each in (query, key, value)), strict=True):
        seen_keys, seen_values = (each.transpose(0, 1) for each in (asked, told))
        if prefix is not None:
            seen_keys = torch.cat([prefix.keys[0][0], seen_keys], dim=1)
            seen_values = torch.cat([prefix.values[0][0], seen_values], dim=1)
        seen_keys, seen_values = (each.repeat_interleave(groups, dim=0) for each in (seen_keys, seen_values))
        scores = asking.transpose(0, 1) @ seen_keys.transpose(1, 2) * 0.3
        own = torch.ones(len(asking), seen_keys.shape[1], dtype=torch.bool).tril(seen_keys.shape[1] - len(asking))
        weights = scores.masked_fill(~own, float("-inf")).softmax(dim=-1)
        expected.append((weights @ seen_values).transpose(0, 1))
    torch.testing.assert_close(attention._read(query, key, value, group, 0, 0.3), torch.cat(expected))
    single = prefix and Prefix(prefix.ids, *([each[0].float()] for each in (prefix.keys, prefix.values)))
    given = (each.float() for each in (query, key, value))
    found = attention_cpu.read(*given, Group(single, group.blocks), 0, 0.3)
    torch.testing.assert_close(found.double(), torch.cat(expected), atol=1e-5, rtol=1e-5)
