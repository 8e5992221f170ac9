"""What a CPU computes by compiled kernels is what torch's operations give, in both number types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from alpaca_tui.backends import attention_cpu, kernels, operations
from alpaca_tui.backends.block import Block
from alpaca_tui.backends.kernels import Own
from alpaca_tui.backends.kvcache import Group, Prefix, RowCache

CLOSE = {torch.float32: {"atol": 2e-6, "rtol": 2e-6}, torch.bfloat16: {"atol": 2e-2, "rtol": 2e-2}}
NAN = float("nan")


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    torch.manual_seed(11)
    found: torch.dtype = request.param
    return found


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    had = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(had)


@pytest.mark.parametrize("tokens", [1, 64, 65, 131])
@pytest.mark.parametrize("adds", [False, True])
def test_a_sum_is_normed(dtype: torch.dtype, threads: int, tokens: int, adds: bool) -> None:
    hidden, more = torch.randn(2, tokens, 37).to(dtype)
    weight = torch.randn(37).to(dtype)
    given = more if adds else None
    expected = operations.add_norm(hidden.clone(), given, weight, 1e-5)
    for found, wanted in zip(kernels.add_norm(hidden.clone(), given, weight, 1e-5), expected, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE[dtype])


@pytest.mark.parametrize("tokens", [1, 70])
def test_heads_are_turned_by_their_places(dtype: torch.dtype, tokens: int) -> None:
    states = torch.randn(tokens, 5, 16).to(dtype)
    angle = torch.rand(tokens, 8).repeat(1, 2) * 6
    expected, found = states.clone(), states.clone()
    for turn, turned in ((operations.turn, expected), (kernels.turn, found)):
        turn(turned, angle.cos().to(dtype), angle.sin().to(dtype), 3)
    torch.testing.assert_close(found, expected, **CLOSE[dtype])
    assert torch.equal(found[:, 3:], states[:, 3:]), "values are not turned"
    assert not torch.equal(found[:, :3], states[:, :3])


def test_angles_that_do_not_fit_are_refused() -> None:
    """A kernel would read beyond them."""
    with pytest.raises(ValueError, match=r"\(3, 8\) angles for 3 tokens of 16 elements a head"):
        kernels.turn(torch.randn(3, 5, 16), torch.randn(3, 8), torch.randn(3, 8), 3)


@pytest.mark.parametrize("tokens", [1, 64, 65, 200])
def test_gates_open_and_close(dtype: torch.dtype, threads: int, tokens: int) -> None:
    both = (torch.randn(tokens, 2 * 19) * 6).to(dtype)
    both[0, :4] = torch.tensor([500.0, -500.0, 0.0, -90.0])
    found = kernels.gated(both)
    torch.testing.assert_close(found, operations.gated(both.clone()), **CLOSE[dtype])
    assert found[0, 0] == both[0, 0] * both[0, 19], "wide open"
    assert (found[0, 1:3].abs() < 1e-30).all(), "shut, and nothing to let through"


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 5), (3, 40), (70, 70)])
def test_nobody_sees_what_comes_later(dtype: torch.dtype, threads: int, queries: int, keys: int) -> None:
    heads, groups, scale = 2, 3, 0.4
    scores = (torch.randn(heads, queries, groups, keys) * 20).to(dtype)
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(1 + keys - queries)
    expected = (scores.float() * scale).masked_fill(hidden[:, None], float("-inf")).softmax(dim=-1)
    found = kernels.future_softmax(scores.view(heads, -1, keys), groups, scale).view_as(expected)
    torch.testing.assert_close(found.float(), expected, **CLOSE[dtype])
    assert (found.float()[hidden[None, :, None].expand_as(expected)] == 0).all()


def attended(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """What one query (H·G, D) sees of (H, C, D), written out in fp32."""
    asking = query.float().view(len(keys), -1, query.shape[1])
    weights = (asking @ keys.float().transpose(1, 2) * scale).softmax(dim=-1)
    return (weights @ values.float()).view(query.shape)


@pytest.mark.parametrize("lengths", [[[1]], [[5, 1, 33]], [[70, 3], [2, 150, 64]], [[9] * 20, [1], [40, 41]]])
def test_a_step_sees_prefixes_and_own_columns(dtype: torch.dtype, threads: int, lengths: list[list[int]]) -> None:
    """Groups with a prefix and without by turns, through the cache: two layers, two tokens one after another."""
    heads, groups, width, layers, scale = 2, 3, 16, 2, 0.3

    def states(tokens: int, of: int = heads) -> torch.Tensor:
        return torch.randn(tokens, of, width).to(dtype)

    made, told = [], []
    for at, rows in enumerate(lengths):
        kept = [states(2 * heads, 40 + at).view(2, 1, heads, 40 + at, width) for _ in range(layers)]
        prefix = Prefix(tuple(range(40 + at)), *map(list, zip(*kept, strict=True))) if at % 2 == 0 else None
        made.append(Group(prefix, [Block(rows)]))
        told += [prefix] * len(rows)
    counts = [length for rows in lengths for length in rows]
    history = [[[states(count), states(count)] for count in counts] for _ in range(layers)]
    cache = RowCache(layers, made)
    for layer in range(layers):
        cache.store(layer, *(torch.cat([row[kind] for row in history[layer]]) for kind in (0, 1)))
    for _ in range(2):
        cache.begin_step()
        for layer in range(layers):
            # Queries, keys and values lie in one product, as a model's pass leaves them.
            product = states(len(counts), heads * groups + 2 * heads)
            query, key, value = product.split([heads * groups, heads, heads], dim=1)
            cache.store(layer, key, value)
            found = attention_cpu.step(query, heads, cache, layer, scale)
            for at, prefix in enumerate(told):
                own = history[layer][at]
                own[0], own[1] = torch.cat([own[0], key[at : at + 1]]), torch.cat([own[1], value[at : at + 1]])
                keys, values = own[0].transpose(0, 1), own[1].transpose(0, 1)
                if prefix is not None:
                    keys = torch.cat([prefix.keys[layer][0], keys], dim=1)
                    values = torch.cat([prefix.values[layer][0], values], dim=1)
                assert found.dtype == dtype
                torch.testing.assert_close(found[at].float(), attended(query[at], keys, values, scale), **CLOSE[dtype])


def test_states_lie_as_kernels_read_them() -> None:
    product = torch.randn(4, 6, 8)
    query, key = product[:, :2], product[:, 4:]
    assert kernels.alike(query, key) == (query, key), "nothing is copied"
    other = torch.randn(2, 4, 8).transpose(0, 1)  # as transformers' model code may leave it
    for found, given in zip(kernels.alike(key, other), (key, other), strict=True):
        assert torch.equal(found, given)
        assert found.is_contiguous()


def test_nan_is_not_lost(dtype: torch.dtype) -> None:
    """It is how a damaged or overflowing model is noticed."""
    hidden = torch.ones(2, 8, dtype=dtype)
    hidden[1, 3] = NAN
    assert kernels.add_norm(hidden.clone(), None, torch.ones(8, dtype=dtype), 1e-5)[1].isnan().any(dim=1).tolist() == [
        False,
        True,
    ]
    assert kernels.gated(hidden).isnan().any(dim=1).tolist() == [False, True]
    scores = torch.zeros(1, 3, 3, dtype=dtype)
    scores[0, 2, 0] = NAN
    assert kernels.future_softmax(scores, 1, 1.0).isnan().any(dim=-1).tolist() == [[False, False, True]]
    for broken in ("query", "key", "value", "prefix"):
        query, key, value = torch.randn(3, 2, 1, 8).to(dtype)
        prefix = torch.randn(1, 4, 8).to(dtype)
        {"query": query, "key": key, "value": value, "prefix": prefix.transpose(0, 1)}[broken][1, 0, 2] = NAN
        places = np.stack([states.data_ptr() + np.arange(2) * 8 * states.itemsize for states in (key, value)], axis=1)
        own = Own(np.column_stack([places, [8, 8]]), np.array([1, 1]), 8)
        scores = torch.bmm(query.view(1, 2, 8), prefix.transpose(1, 2))
        seen = kernels.see(query, 1, own, attention_cpu._lines(scores, 2), 1.0)
        seen.merge(torch.bmm(scores, prefix), 0, 2)
        wanted = [True, True] if broken == "prefix" else [False, True]
        assert seen.out.isnan().any(dim=-1)[:, 0].tolist() == wanted, broken
