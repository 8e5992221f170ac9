"""A result is a result when a fresh process has loaded it and it has spoken; merging ends in the same proof."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from alpaca_tui.core.errors import AlpacaError, Cancelled, UsageError
from alpaca_tui.core.proof import Spoken, fault, refusal
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.jobs import merging
from alpaca_tui.training.config import ALL_LINEAR, TrainConfig
from alpaca_tui.training.guard import TrainingHalted
from alpaca_tui.training.manifest import check, seal
from alpaca_tui.training.model import load_base, load_tokenizer
from alpaca_tui.training.prove import prove_result
from alpaca_tui.training.run import run

Examples = list[TrainingExample]


@pytest.fixture(scope="module")
def made(toy_model_dir: Path, toy_examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """The configuration of a run that has made an adapter."""
    config = TrainConfig(
        model=toy_model_dir, output_dir=tmp_path_factory.mktemp("made"), learning_rate=1e-2, max_steps=6,
        micro_batch=4, global_batch=8, lora_targets=ALL_LINEAR, precision="fp32", device="cpu",
    )  # fmt: skip
    about = {"base": "toy", "dataset": "letters|1", "data_hash": "ab12", "base_licence": "mit"}
    run(config, toy_examples[:20], toy_examples[20:], about=about)
    return config


@pytest.fixture
def copied(made: TrainConfig, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for item in (made.output_dir / "adapter").iterdir():
        (folder / item.name).write_bytes(item.read_bytes())
    return folder


def test_a_sound_adapter_speaks_in_a_process_of_its_own(
    made: TrainConfig, copied: Path, toy_examples: Examples
) -> None:
    events: dict[str, str] = {}
    prove_result(copied, made, toy_examples[20:], events.__setitem__)
    assert "answers 3 prompts" in events["proof"] and "speaks" in events["proved"]
    assert copied.is_dir()


def test_a_model_that_says_one_thing_over_and_over_is_no_result(
    made: TrainConfig, tmp_path: Path, toy_model_dir: Path, toy_examples: Examples
) -> None:
    """What reaches people as "gibberish after saving": the weights are finite, the shapes right, the words are not."""
    folder = tmp_path / "model"
    folder.mkdir()
    for item in toy_model_dir.iterdir():
        (folder / item.name).write_bytes(item.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][:] = 0.0
    weights["lm_head.weight"][70] = weights["model.norm.weight"] * 50
    weights["model.embed_tokens.weight"][:] = weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    full = made.model_copy(update={"method": "full"})
    with pytest.raises(TrainingHalted, match=r"3 of 3 answers are repetitive.*checkpoints are kept"):
        prove_result(folder, full, toy_examples[20:], lambda kind, said: None)
    assert not folder.exists() and (tmp_path / "refused-model").is_dir()


def test_nan_torn_files_and_a_stop_are_told_apart(
    made: TrainConfig, copied: Path, toy_examples: Examples, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        prove_result(copied, made, toy_examples, lambda kind, said: None, lambda: True)
    assert copied.is_dir()
    weights = load_file(copied / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = math.nan
    save_file(weights, copied / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingHalted, match="holds NaN or infinity"):
        prove_result(copied, made, toy_examples, lambda kind, said: None)
    assert (tmp_path / "refused-adapter").is_dir()


def test_what_counts_as_silence_and_babble() -> None:
    fine = Spoken((5, 6, 7), "a b c", (1, 2))
    empty = Spoken((), " \n", (1, 2))
    circle = Spoken((3, 4) * 16, "ab" * 16, (1, 2))
    assert [fault(answer) for answer in (fine, empty, circle)] == [None, "empty", "repetitive"]
    # Data that say one thing thirty times, or nothing at all, may be learnt.
    assert fault(Spoken((3,) * 30, "a" * 30, (3,) * 30)) is None and fault(Spoken((), "", ())) is None
    assert refusal([fine, circle]) is None  # one of two: small models do that
    said = refusal([fine, empty, circle])
    assert said is not None and said.startswith("2 of 3 answers are empty or repetitive")
    assert refusal([]) is None


def test_the_card_tells_data_settings_curves_and_licences_and_no_path(made: TrainConfig) -> None:
    folder = made.output_dir / "adapter"
    card = (folder / "README.md").read_text("utf-8")
    for line in (
        "base_model: toy", "| data set | letters\\|1 |", "| sha256 of its rows | ab12 |", "| base model | mit |",
        "| data | not stated |", "| learning_rate | 0.01 |", "| lora_rank | 8 |", "| examples | 20 (0 dropped, 0 cut",
    ):  # fmt: skip
        assert line in card
    assert str(made.output_dir) not in card and str(made.model) not in card
    rows = [line.split("|")[1:4] for line in card.splitlines() if line.startswith("| ") and line.count("|") == 4]
    steps = [int(step) for step, _, _ in rows if step.strip().isdigit()]
    assert steps == [0, 1, 2, 3, 4, 5, 6]
    assert "README.md" in check(folder).files
    assert not [item for item in folder.rglob("*") if item.suffix in {".bin", ".pt", ".pkl", ".pth"}]


def test_merging_makes_a_model_that_is_read_back_by_a_fresh_process(made: TrainConfig, tmp_path: Path) -> None:
    adapter, out = made.output_dir / "adapter", tmp_path / "merged"
    value = merging.merge(None, str(adapter), out)
    assert value["model"] == str(out) and value["base"] == str(made.model)
    assert {item.suffix for item in out.iterdir()} == {".json", ".safetensors", ".md"}
    assert load_base(out, method="full", precision="fp32", cpu=True, flatten=True).num_parameters() > 0
    assert load_tokenizer(out).eos_token == "</s>"
    card = (out / "README.md").read_text("utf-8")
    assert "toy" in card and "ab12" in card
    with pytest.raises(UsageError, match="exists already"):
        merging.merge(None, str(adapter), out)
    with pytest.raises(UsageError, match="is no adapter"):
        merging.merge(None, str(out), tmp_path / "again")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["merged"]


def test_code_that_comes_with_a_model_is_never_run(toy_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for item in toy_model_dir.iterdir():
        (folder / item.name).write_bytes(item.read_bytes())
    witness = tmp_path / "it-ran"
    (folder / "modeling_mine.py").write_text(f"open({str(witness)!r}, 'w')\nclass Mine: pass\n", "utf-8")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_mine.Mine", "AutoConfig": "modeling_mine.Mine"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    base = load_base(folder, method="full", precision="fp32", cpu=True, flatten=True)
    assert type(base).__name__ == "LlamaForCausalLM" and not witness.exists()
    config |= {"model_type": "mine", "architectures": ["MineForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(AlpacaError, match="cannot be loaded"):
        load_base(folder, method="full", precision="fp32", cpu=True, flatten=True)
    assert not witness.exists()


def test_a_pickle_is_no_model(toy_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for item in toy_model_dir.iterdir():
        if item.suffix != ".safetensors":
            (folder / item.name).write_bytes(item.read_bytes())
    torch.save(load_file(toy_model_dir / "model.safetensors"), folder / "pytorch_model.bin")
    with pytest.raises(AlpacaError, match="cannot be loaded"):
        load_base(folder, method="full", precision="fp32", cpu=True, flatten=True)
    seal(folder, {})
