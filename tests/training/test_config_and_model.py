from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import CPUOffloadPolicy, StateDictType

from alpaca_tui.core.errors import AlpacaError, RefusedError, UsageError
from alpaca_tui.training import config as config_module
from alpaca_tui.training import model as model_module
from alpaca_tui.training.config import TrainConfig, preset_for
from alpaca_tui.training.data import plan_run
from alpaca_tui.training.loop import arguments
from alpaca_tui.training.model import (
    add_lora,
    load_base,
    load_tokenizer,
    parameter_count,
    resolve_precision,
    special_tokens,
)
from alpaca_tui.training.sharding import prepare, shards_by_deepspeed, shards_by_fsdp

RECIPES = Path(config_module.__file__).parent / "recipes"


@pytest.fixture
def copied(toy_model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toy_model_dir, tmp_path / "copied")


@pytest.mark.parametrize(
    ("name", "processes", "machines", "kind"),
    [
        ("cpu", 1, 1, "NO"),
        ("single-gpu", 1, 1, "NO"),
        ("v100x4-lora", 4, 1, "MULTI_GPU"),
        ("v100x4-full", 4, 1, "FSDP"),
        ("v100x4-offload", 4, 1, "FSDP"),
        ("v100x4-zero3", 4, 1, "DEEPSPEED"),
        ("multi-node", 8, 2, "MULTI_GPU"),
    ],
)
def test_recipes_are_read_by_accelerate_and_launch_what_they_name(
    name: str, processes: int, machines: int, kind: str
) -> None:
    recipe = load_config_from_file(str(RECIPES / f"{name}.yaml"))
    assert (recipe.num_processes, recipe.num_machines, recipe.mixed_precision) == (processes, machines, "no")
    assert recipe.distributed_type == DistributedType[kind] and recipe.use_cpu == (name == "cpu")
    asked = launch_command_parser().parse_args(["--config_file", str(RECIPES / f"{name}.yaml"), "script.py"])
    launch, _, _ = _validate_launch_command(asked)
    assert (launch.use_fsdp, launch.multi_gpu, launch.use_deepspeed) == (
        kind == "FSDP",
        kind == "MULTI_GPU",
        kind == "DEEPSPEED",
    )


def test_every_recipe_is_tested_above() -> None:
    assert len(list(RECIPES.glob("*.yaml"))) == 7


@pytest.mark.parametrize("name", ["v100x4-full", "v100x4-offload"])
def test_the_sharding_recipes_reach_fsdp2_as_they_are_meant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = launch_command_parser().parse_args(["--config_file", str(RECIPES / f"{name}.yaml"), "script.py"])
    launch, _, _ = _validate_launch_command(asked)
    for variable, value in prepare_multi_gpu_env(launch).items():
        if variable.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(variable, value)
    assert shards_by_fsdp() and not shards_by_deepspeed()
    plugin = FullyShardedDataParallelPlugin()
    plugin.set_mixed_precision("fp16")
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]
    assert plugin.activation_checkpointing and plugin.cpu_ram_efficient_loading
    assert plugin.state_dict_type == StateDictType.SHARDED_STATE_DICT
    assert isinstance(plugin.cpu_offload, CPUOffloadPolicy) == (name == "v100x4-offload")
    # The plan counts on halves for gathered weights and for the gradients that are reduced.
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.float16, torch.float16)
    made = config_module.TrainConfig(model=Path("m"), output_dir=Path("o"), method="full", gradient_checkpointing=True)
    layout = plan_run([5] * 8, global_batch=4, micro_batch=1, world_size=1, epochs=1, max_steps=None, seed=0,
                      by_length=False)  # fmt: skip
    args = arguments(made, layout, precision="fp32", cpu=True, evaluate=False)
    assert args.accelerator_config.gradient_accumulation_kwargs == {"sync_each_batch": True}
    assert not args.activation_checkpointing  # FSDP wraps the layers; the Trainer refuses both
    with pytest.raises(RefusedError, match="lora is copied to every GPU"):
        prepare(made.model_copy(update={"method": "lora"}), cpu=True)
    with pytest.raises(RefusedError, match="cannot update sharded weights"):
        prepare(made.model_copy(update={"optimizer": "paged_adamw_8bit"}), cpu=True)


def test_faulty_settings_are_all_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.parse({"model": "m", "output_dir": "o", "learning_rate": -1, "speed": 3})
    assert "learning_rate" in str(caught.value) and "speed" in str(caught.value)
    with pytest.raises(UsageError, match="micro_batch is 16, more than the global_batch of 8"):
        TrainConfig.parse({"model": "m", "output_dir": "o", "micro_batch": 16, "global_batch": 8})


@pytest.mark.parametrize(
    ("parameters", "method", "rate", "epochs", "batch"),
    [
        (6_738_415_616, "full", 2e-5, 3.0, 128),
        (13_015_864_320, "full", 1e-5, 5.0, 128),
        (6_738_415_616, "lora", 3e-4, 3.0, 128),
        (134_515_008, "lora", 5e-4, 3.0, 8),
    ],
)
def test_presets_are_alpacas_and_may_be_overridden(
    parameters: int, method: config_module.Method, rate: float, epochs: float, batch: int
) -> None:
    made = TrainConfig.for_model(parameters, method, model="m", output_dir="o", learning_rate=None)
    assert (made.learning_rate, made.epochs, made.global_batch, made.max_length) == (rate, epochs, batch, 512)
    assert preset_for(parameters, method).source
    assert TrainConfig.for_model(parameters, method, model="m", output_dir="o", epochs=1.0).epochs == 1.0


def test_a_smaller_global_batch_lowers_the_presets_micro_batch() -> None:
    made = TrainConfig.for_model(135_000_000, "lora", model="m", output_dir="o", global_batch=4)
    assert (made.micro_batch, made.global_batch) == (4, 4)
    with pytest.raises(UsageError, match="micro_batch is 6"):
        TrainConfig.for_model(135_000_000, "lora", model="m", output_dir="o", global_batch=4, micro_batch=6)


def test_accumulation_makes_the_global_batch() -> None:
    made = TrainConfig(model=Path("m"), output_dir=Path("o"), micro_batch=4, global_batch=128)
    assert [made.accumulation(world) for world in (1, 4, 8)] == [32, 8, 4]
    with pytest.raises(UsageError, match="cannot be spread over 200"):
        made.accumulation(200)


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in {(7, 0): "fp16", (7, 5): "fp16", (8, 0): "bf16", (9, 0): "bf16"}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert resolve_precision("auto", cpu=False) == expected
    for fast, expected in {True: "bf16", False: "fp32"}.items():
        monkeypatch.setattr(model_module, "_cpu_has_fast_bf16", lambda found=fast: found)
        assert resolve_precision("auto", cpu=True) == expected
    assert resolve_precision("fp32", cpu=False) == "fp32"
    with pytest.raises(AlpacaError, match="fp16 training needs a GPU"):
        resolve_precision("fp16", cpu=True)


def test_full_tuning_holds_fp32_masters_and_lora_a_half_precision_base(toy_model_dir: Path) -> None:
    full = load_base(toy_model_dir, method="full", precision="fp16", cpu=False, flatten=True)
    assert {w.dtype for w in full.parameters()} == {torch.float32}
    base = load_base(toy_model_dir, method="lora", precision="fp16", cpu=False, flatten=True)
    assert {w.dtype for w in base.parameters()} == {torch.float16}
    tuned = add_lora(base, TrainConfig(model=toy_model_dir, output_dir=toy_model_dir))
    trained = {name: w.dtype for name, w in tuned.named_parameters() if w.requires_grad}
    assert trained and set(trained.values()) == {torch.float32}
    assert all("lora_" in name for name in trained)


def test_special_tokens_of_the_toy(toy_model_dir: Path) -> None:
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    tokens = special_tokens(load_tokenizer(toy_model_dir), base.config)
    # Its tokenizer adds no beginning token by itself, so neither do we.
    assert (tokens.bos, tokens.eos, tokens.pad) == (None, 2, 0)
    base.config.eos_token_id = 7
    with pytest.raises(AlpacaError, match="ends with token 2 but"):
        special_tokens(load_tokenizer(toy_model_dir), base.config)
    base.config.vocab_size = 2
    with pytest.raises(AlpacaError, match="without an end token"):
        special_tokens(load_tokenizer(toy_model_dir), base.config)


def test_parameters_are_counted_from_the_config(toy_model_dir: Path) -> None:
    base = load_base(toy_model_dir, method="full", precision="fp32", cpu=True, flatten=True)
    assert parameter_count(toy_model_dir) == sum(w.numel() for w in base.parameters())


def test_a_folder_without_a_tokenizer_is_told_in_one_sentence(copied: Path) -> None:
    for item in copied.glob("tokenizer*"):
        item.unlink()
    with pytest.raises(AlpacaError, match="has no tokenizer: copy"):
        load_tokenizer(copied)
    with pytest.raises(AlpacaError, match="is not a directory"):
        load_tokenizer(copied / "nowhere")


def test_a_model_that_is_not_whole_is_refused(copied: Path) -> None:
    loading = {"method": "full", "precision": "fp32", "cpu": True, "flatten": True}
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 3}))
    with pytest.raises(AlpacaError, match="the model is not whole"):
        load_base(copied, **loading)  # type: ignore[arg-type]
    (copied / "model.safetensors").unlink()
    with pytest.raises(AlpacaError, match="cannot be loaded"):
        load_base(copied, **loading)  # type: ignore[arg-type]
    (copied / "config.json").unlink()
    with pytest.raises(AlpacaError, match=r"has no config\.json"):
        load_base(copied, **loading)  # type: ignore[arg-type]


def test_a_directory_with_only_a_sentencepiece_model_has_a_tokenizer(tmp_path: Path) -> None:
    """Old LLaMA conversions come without tokenizer.json."""
    sentences = [f"Say {letter} {count} times and tell how rain is made." for letter in "abcdefgh" for count in "359"]
    with (tmp_path / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=file,
            vocab_size=320,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",  # as LLaMA's was trained
            remove_extra_whitespaces=False,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", **special}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))

    tokenizer = load_tokenizer(tmp_path)
    trained = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    for text in ("Say a 3 times", "über 日本: rain\n"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == trained.encode(text)
        assert tokenizer.decode(ids) == text
