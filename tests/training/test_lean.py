from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, linear

from alpaca_tui.core.masking import Encoded
from alpaca_tui.core.presets import ALL_LINEAR
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.data import collate_flattened
from alpaca_tui.training.lean import _LoraProduct, dropped_places, make_lean
from alpaca_tui.training.loss import _CrossEntropy, summed_loss
from alpaca_tui.training.model import add_lora, encode, load_base, load_tokenizer, special_tokens

LAYERS = 2


@pytest.fixture(scope="module")
def encoded(toy_model_dir: Path, toy_examples: list[TrainingExample]) -> list[Encoded]:
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    tokenizer = load_tokenizer(toy_model_dir)
    return encode(tokenizer, special_tokens(tokenizer, base.config), toy_examples[::5], 64)


def tuned(folder: Path, method: str, dropout: float = 0.0) -> torch.nn.Module:
    """The toy as it is tuned by ``method``; a LoRA whose B is not zero, so that every gradient is there."""
    base = load_base(folder, method="full", precision="fp32", cpu=True, flatten=True)
    if method == "full":
        return base.train()
    config = TrainConfig(model=folder, output_dir=folder, lora_dropout=dropout, lora_targets=ALL_LINEAR)
    torch.manual_seed(0)
    model = add_lora(base, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model.train()


def loss_and_gradients(model: torch.nn.Module, batch: dict[str, object]) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    loss = summed_loss(model, batch)
    loss.backward()
    return loss.item(), {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_lean_layers_give_the_loss_and_the_gradients_of_the_stock_ones(
    toy_model_dir: Path, encoded: list[Encoded], method: str
) -> None:
    batch = collate_flattened(encoded)
    stock = loss_and_gradients(tuned(toy_model_dir, method), batch)
    model = tuned(toy_model_dir, method)
    projections = len(ALL_LINEAR) if method == "lora" else 0
    assert make_lean(model) == LAYERS * (projections + 3) + 1  # two norms and an MLP a layer, and the last norm
    lean = loss_and_gradients(model, batch)
    assert lean[0] == pytest.approx(stock[0], rel=1e-6)
    assert lean[1].keys() == stock[1].keys()
    for name, gradient in stock[1].items():
        torch.testing.assert_close(lean[1][name], gradient, rtol=1e-4, atol=2e-5, msg=name)


def test_lean_layers_drop_the_same_places_when_a_layer_is_computed_again(
    toy_model_dir: Path, encoded: list[Encoded]
) -> None:
    batch = collate_flattened(encoded)
    found = []
    for checkpointing in (False, True):
        model = tuned(toy_model_dir, "lora", dropout=0.3)
        make_lean(model)
        if checkpointing:
            model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
        found.append(loss_and_gradients(model, batch))
    assert found[0][0] == found[1][0] != pytest.approx(loss_and_gradients(tuned(toy_model_dir, "lora"), batch)[0])
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, msg=name)


def test_a_lean_lora_drops_out_as_one_with_a_mask(toy_model_dir: Path) -> None:
    torch.manual_seed(0)
    rate, scaling = 0.25, 2.0
    x, w = torch.randn(6, 10, 8), torch.randn(12, 8)
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(12, 4, requires_grad=True)
    x.requires_grad_()
    torch.manual_seed(3)
    mask = torch.ones(x.numel())
    mask[dropped_places(x.numel(), rate).long()] = 0
    dropped = x * mask.view_as(x) / (1 - rate)
    wanted = linear(x, w) + scaling * linear(linear(dropped, a), b)
    torch.manual_seed(3)
    found = _LoraProduct.apply(x, w, a, b, scaling, rate)
    torch.testing.assert_close(found, wanted)
    weighing = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, a, b), weighing), torch.autograd.grad(wanted, (x, a, b), weighing), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_dropout_drops_each_place_alike_and_independently(rate: float) -> None:
    torch.manual_seed(0)
    count, turns = 1000, 2000
    dropped = torch.zeros(turns, count)
    for row in dropped:
        row[dropped_places(count, rate).long()] = 1
    spread = (rate * (1 - rate)) ** 0.5
    assert float(dropped.mean()) == pytest.approx(rate, abs=5 * spread / (turns * count) ** 0.5)
    assert float((dropped.mean(0) - rate).abs().max()) < 5 * spread / turns**0.5
    # As many in one turn as of independent places: the variance is a binomial's, not a Poisson's.
    variance = float(dropped.sum(1).var())
    assert variance == pytest.approx(count * spread**2, rel=5 * (2 / turns) ** 0.5)


def test_what_is_not_plain_lora_keeps_its_own_layers(toy_model_dir: Path) -> None:
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    dora = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=list(ALL_LINEAR), use_dora=True))
    assert make_lean(dora) == LAYERS * 3 + 1  # the norms and the MLPs alone


def test_a_lean_adapter_that_is_switched_off_leaves_the_base(toy_model_dir: Path, encoded: list[Encoded]) -> None:
    model = tuned(toy_model_dir, "lora")
    make_lean(model)
    batch = collate_flattened(encoded)
    with torch.no_grad(), model.disable_adapter():
        off = float(summed_loss(model, batch))
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    with torch.no_grad():
        assert off == pytest.approx(float(summed_loss(base, batch)), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cross_entropy_is_torchs_and_its_gradient_too(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = (torch.randn(150, 40) * 4).to(dtype)  # two slices and a piece
    labels = torch.randint(40, (150,))
    weighing = torch.rand(150)
    results = []
    for loss in (
        lambda x: _CrossEntropy.apply(x, labels),
        lambda x: cross_entropy(x.float(), labels, reduction="none"),
    ):
        leaf = values.clone().requires_grad_()
        each = loss(leaf * 1)
        (each * weighing).sum().backward()
        results.append((each.detach(), leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_the_frozen_base_of_lora_is_held_in_the_precision_computed_in(toy_model_dir: Path) -> None:
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        base = load_base(toy_model_dir, method="lora", precision=precision, cpu=True, flatten=True)
        assert {weight.dtype for weight in base.parameters()} == {dtype}
        model = add_lora(base, TrainConfig(model=toy_model_dir, output_dir=toy_model_dir))
        assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    masters = load_base(toy_model_dir, method="full", precision="bf16", cpu=True, flatten=True)
    assert {weight.dtype for weight in masters.parameters()} == {torch.float32}
