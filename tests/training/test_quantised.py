"""QLoRA: the base packed to 4 bits, trained for real (bitsandbytes has CPU kernels; on a GPU its own)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Params4bit

from alpaca_tui.core.errors import RefusedError, UsageError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.config import ALL_LINEAR, TrainConfig
from alpaca_tui.training.evaluate import held_out_loss
from alpaca_tui.training.model import check_launch, load_base
from alpaca_tui.training.run import run

Examples = list[TrainingExample]


def settings(model: Path, output: Path, **changes: object) -> TrainConfig:
    values = {
        "model": model, "output_dir": output, "method": "qlora", "learning_rate": 2e-2, "max_steps": 8,
        "micro_batch": 4, "global_batch": 8, "lora_targets": ALL_LINEAR, "precision": "bf16", "device": "cpu",
    }  # fmt: skip
    return TrainConfig.parse({**values, **changes})


@pytest.mark.parametrize(("quantization", "double"), [("nf4", False), ("nf4-dq", True)])
def test_the_projections_are_packed_to_nf4_and_nothing_else(
    quantization: str, double: bool, toy_model_dir: Path
) -> None:
    base = load_base(toy_model_dir, method="qlora", precision="bf16", cpu=True, flatten=True, quantization=quantization)
    packed = [module for module in base.modules() if isinstance(module, Linear4bit)]
    assert len(packed) == 2 * len(ALL_LINEAR)  # two layers; embeddings and head stay as they are
    for module in packed:
        weight = module.weight
        assert isinstance(weight, Params4bit) and weight.dtype == torch.uint8
        assert weight.numel() == module.in_features * module.out_features // 2
        assert weight.quant_state.quant_type == "nf4" and weight.quant_state.nested == double
        assert module.compute_dtype == torch.bfloat16


def test_qlora_learns_and_its_adapter_works_on_the_unpacked_base(
    toy_model_dir: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    losses: dict[str, list[float]] = {"evaluated": [], "not": []}
    for name, held_out in (("not", []), ("evaluated", toy_examples[20:])):
        result = run(
            settings(toy_model_dir, tmp_path / name, eval_every=1),
            toy_examples[:20],
            held_out,
            lambda step, values, seen=losses[name]: seen.append(values["loss"]) if "loss" in values else None,
        )
    assert losses["evaluated"] == losses["not"]  # looking at a 4-bit model leaves it as it was
    assert result.adapter is not None and result.eval_loss_first is not None
    assert result.loss_last < result.loss_first - 0.2
    assert "QLoRA" in (result.adapter / "README.md").read_text("utf-8")
    tuned = held_out_loss(toy_model_dir, result.adapter, toy_examples[20:], precision="fp32", device="cpu")
    # Rounding the base to 4 bits moves the loss of the same adapter by less than it has learnt.
    assert tuned.loss == pytest.approx(result.eval_loss_last, abs=0.1)
    assert tuned.loss < result.eval_loss_first - 0.2


def test_an_8_bit_optimizer_tunes_an_adapter(toy_model_dir: Path, toy_examples: Examples, tmp_path: Path) -> None:
    config = settings(toy_model_dir, tmp_path, method="lora", precision="fp32", optimizer="adamw_8bit", max_steps=4)
    assert run(config, toy_examples[:20]).loss_last < 5.55


def test_what_needs_bitsandbytes_is_refused_without_it_and_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qlora = settings(tmp_path, tmp_path, device="auto")
    with pytest.raises(RefusedError, match="there is none here: use --method lora"):
        check_launch(qlora, cpu=True)
    check_launch(qlora, cpu=False)
    check_launch(settings(tmp_path, tmp_path, method="lora", device="auto"), cpu=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for config in (qlora, settings(tmp_path, tmp_path, method="full", optimizer="paged_adamw_8bit")):
        with pytest.raises(RefusedError, match="needs bitsandbytes, which is not installed") as caught:
            check_launch(config, cpu=False)
        assert caught.value.exit_code == 3
    with pytest.raises(UsageError, match="optimizer"):
        settings(tmp_path, tmp_path, optimizer="sgd")
