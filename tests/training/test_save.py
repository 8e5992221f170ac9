from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.checkpoints import checkpoints, find_newest, rotate, seal_checkpoint, set_aside
from alpaca_tui.training.config import ALL_LINEAR, TrainConfig
from alpaca_tui.training.evaluate import held_out_loss
from alpaca_tui.training.guard import TrainingHalted
from alpaca_tui.training.manifest import MANIFEST, check, seal
from alpaca_tui.training.run import run
from alpaca_tui.training.save import merge, trained_weights, verify_result


@pytest.fixture(scope="module")
def adapter(toy_model_dir: Path, toy_examples: list[TrainingExample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainConfig(
        model=toy_model_dir,
        output_dir=tmp_path_factory.mktemp("adapter"),
        learning_rate=1e-2,
        max_steps=4,
        micro_batch=4,
        global_batch=4,
        lora_targets=ALL_LINEAR,
        precision="fp32",
        device="cpu",
    )
    result = run(config, toy_examples)
    assert result.adapter is not None
    return result.adapter


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    """The adapter in a place where a test may break it."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for item in adapter.iterdir():
        (folder / item.name).write_bytes(item.read_bytes())
    return folder


def test_merged_model_equals_base_with_adapter(toy_model_dir: Path, adapter: Path, tmp_path: Path) -> None:
    merged = merge(toy_model_dir, adapter, tmp_path / "merged")
    alone = AutoModelForCausalLM.from_pretrained(merged).eval()
    base = AutoModelForCausalLM.from_pretrained(toy_model_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = torch.tensor([tokenizer("Say c 5 times:\n").input_ids])
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
        torch.testing.assert_close(alone(ids).logits, adapted, rtol=1e-4, atol=1e-5)
    assert (adapted - plain).abs().max() > 0.1
    assert check(merged).facts["adapter"] == str(adapter)
    assert not list(merged.glob("adapter*")) and not list(merged.glob("*.bin"))


def test_a_bf16_base_does_not_round_the_adapter_away(toy_model_dir: Path, adapter: Path, tmp_path: Path) -> None:
    """Over all weights, the merged model lies closer to the exact sum than bf16 could come."""
    half = tmp_path / "bf16"
    AutoModelForCausalLM.from_pretrained(toy_model_dir, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(toy_model_dir).save_pretrained(half)
    exact = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(half, dtype=torch.float32), adapter
    ).merge_and_unload()
    merged = AutoModelForCausalLM.from_pretrained(merge(half, adapter, tmp_path / "merged"), dtype="auto")
    assert merged.dtype == torch.float16
    ours = theirs = 0.0
    for (name, weight), kept in zip(exact.named_parameters(), merged.parameters(), strict=True):
        if "proj" in name:
            ours += (weight - kept.float()).norm().item()
            theirs += (weight - weight.bfloat16().float()).norm().item()
    assert 0 < ours < theirs / 4


def test_merging_again_replaces_the_old_folder_whole(toy_model_dir: Path, adapter: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    (target / "stale.txt").write_text("from before")
    merge(toy_model_dir, adapter, target)
    assert not (target / "stale.txt").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["merged"]


def test_a_torn_adapter_is_not_merged(toy_model_dir: Path, copied: Path, tmp_path: Path) -> None:
    weights = copied / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(AlpacaError, match="bytes instead of"):
        merge(toy_model_dir, copied, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_another_shape_is_one_sentence(
    toy_examples: list[TrainingExample], toy_model_dir: Path, copied: Path
) -> None:
    weights = load_file(copied / "adapter_model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name][:, :-1].contiguous()
    save_file(weights, copied / "adapter_model.safetensors")
    with pytest.raises(AlpacaError, match="cannot be put on"):
        held_out_loss(toy_model_dir, copied, toy_examples, precision="fp32", device="cpu")


def rewrite(folder: Path, change: float) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    touched = {n: w * change if "lora_B" in n else w for n, w in weights.items()}
    save_file(touched, folder / "adapter_model.safetensors")
    seal(folder, {})


def test_verification_reads_every_weight(adapter: Path, copied: Path) -> None:
    verify_result(adapter)
    rewrite(copied, float("nan"))
    with pytest.raises(TrainingHalted, match="NaN"):
        verify_result(copied)


def test_an_adapter_that_did_not_move_is_no_result(copied: Path) -> None:
    rewrite(copied, 0.0)
    with pytest.raises(TrainingHalted, match="learnt nothing"):
        verify_result(copied)


def test_saved_weights_are_compared_with_the_trained_ones(toy_model_dir: Path, adapter: Path, copied: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(toy_model_dir)
    live = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    verify_result(adapter, trained_weights(live))
    rewrite(copied, 1.0 + 2**-20)
    with pytest.raises(TrainingHalted, match="not the one that was trained"):
        verify_result(copied, trained_weights(live))


def make_checkpoint(folder: Path, step: int, fingerprint: str = "f") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "inner").mkdir(parents=True)
    (checkpoint / "weights.bin").write_bytes(bytes(1000))
    (checkpoint / "inner" / "state.json").write_text("{}")
    seal_checkpoint(checkpoint, fingerprint)
    return checkpoint


def tear_by_truncation(checkpoint: Path) -> None:
    (checkpoint / "weights.bin").write_bytes(bytes(999))


def tear_by_one_bit(checkpoint: Path) -> None:
    (checkpoint / "weights.bin").write_bytes(bytes(999) + b"\1")


def tear_by_loss(checkpoint: Path) -> None:
    (checkpoint / "inner" / "state.json").unlink()


def tear_before_the_seal(checkpoint: Path) -> None:
    (checkpoint / MANIFEST).unlink()


def tear_the_manifest(checkpoint: Path) -> None:
    (checkpoint / MANIFEST).write_text('{"facts": {')


@pytest.mark.parametrize(
    "tear", [tear_by_truncation, tear_by_one_bit, tear_by_loss, tear_before_the_seal, tear_the_manifest]
)
def test_every_kind_of_tear_is_found(tear: object, tmp_path: Path) -> None:
    good = make_checkpoint(tmp_path, 9)
    bad = make_checkpoint(tmp_path, 10)
    assert find_newest(tmp_path, "f").newest == bad
    tear(bad)  # type: ignore[operator]
    found = find_newest(tmp_path, "f")
    assert found.newest == good
    assert [path for path, _ in found.torn] == [bad]


def test_steps_are_compared_as_numbers_and_other_folders_ignored(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        make_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "adapter").mkdir()
    assert [item.name for item in checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-20", "checkpoint-9"]
    assert checkpoints(tmp_path / "nowhere") == []


def test_rotation_counts_whole_checkpoints_only(tmp_path: Path) -> None:
    made = {step: make_checkpoint(tmp_path, step) for step in (1, 2, 3, 4)}
    tear_before_the_seal(made[4])
    assert rotate(tmp_path, keep=2) == [made[1]]
    assert made[2].is_dir() and made[3].is_dir() and made[4].is_dir()


def test_a_torn_checkpoint_is_kept_under_another_name(tmp_path: Path) -> None:
    for _ in range(2):
        aside = set_aside(make_checkpoint(tmp_path, 5))
    assert aside.name == "torn-checkpoint-5"
    assert checkpoints(tmp_path) == []
