from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from alpaca_tui.core.masking import Encoded
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.attention import FLATTENED
from alpaca_tui.training.data import PaddedCollator, collate_flattened
from alpaca_tui.training.loss import summed_loss
from alpaca_tui.training.model import encode, load_base, load_tokenizer, special_tokens


@pytest.fixture(scope="module")
def encoded(toy_model_dir: Path, toy_examples: list[TrainingExample]) -> list[Encoded]:
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    tokenizer = load_tokenizer(toy_model_dir)
    return encode(tokenizer, special_tokens(tokenizer, base.config), toy_examples[::5], 64)


def loss_and_gradients(
    folder: Path, flatten: bool, batch: dict[str, object], checkpointing: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    model = load_base(folder, method="full", precision="fp32", cpu=True, flatten=flatten)
    assert isinstance(model, LlamaForCausalLM)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    loss = summed_loss(model, batch)
    loss.backward()
    gradients = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    assert len(gradients) == len(list(model.parameters()))
    return loss.item(), gradients


@pytest.mark.parametrize("checkpointing", [False, True])
def test_flattened_loss_and_gradients_equal_padded_ones(
    toy_model_dir: Path, encoded: list[Encoded], checkpointing: bool
) -> None:
    padded = loss_and_gradients(toy_model_dir, False, PaddedCollator(0)(encoded))
    flat = loss_and_gradients(toy_model_dir, True, collate_flattened(encoded), checkpointing)
    assert flat[0] == pytest.approx(padded[0], rel=1e-6)
    for name, gradient in padded[1].items():
        torch.testing.assert_close(flat[1][name], gradient, rtol=1e-4, atol=2e-5, msg=name)


def test_padded_loss_is_the_models_own(toy_model_dir: Path, encoded: list[Encoded]) -> None:
    """The oracle: transformers' causal loss over the labels with the prompt masked."""
    model = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=False)
    ours = theirs = 0.0
    with torch.no_grad():
        for item in encoded:
            ours += float(summed_loss(model, PaddedCollator(0)([item])))
            labels = torch.tensor([item.labels])
            theirs += float(model(input_ids=torch.tensor([item.input_ids]), labels=labels).loss) * item.supervised
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_nothing_leaks_between_the_examples_of_a_flattened_batch(toy_model_dir: Path, encoded: list[Encoded]) -> None:
    model = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    with torch.no_grad():
        together = float(summed_loss(model, collate_flattened(encoded)))
        apart = sum(float(summed_loss(model, collate_flattened([item]))) for item in encoded)
    assert together == pytest.approx(apart, rel=1e-6)


def test_flattened_attention_refuses_a_batch_that_was_not_flattened(toy_model_dir: Path) -> None:
    model = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    assert model.config._attn_implementation == FLATTENED
    with pytest.raises(ValueError, match="lengths"):
        model(input_ids=torch.ones(2, 5, dtype=torch.long))
