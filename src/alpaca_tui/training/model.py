"""Loading what is tuned: the base model in the right precision, its tokenizer, and the adapter."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from alpaca_tui.core.errors import AlpacaError, RefusedError
from alpaca_tui.core.masking import Encoded, encode_example
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.attention import FLATTENED
from alpaca_tui.training.config import Method, Precision, TrainConfig

ResolvedPrecision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids that encoding adds. ``bos`` is None for tokenizers that begin with none."""

    bos: int | None
    eos: int
    pad: int


def wants_cpu(config_device: str) -> bool:
    """Whether to run on the CPU: asked for, told so by accelerate's recipe, or no GPU is there."""
    told = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes"}
    return config_device == "cpu" or told or not torch.cuda.is_available()


def resolve_precision(wanted: Precision, *, cpu: bool) -> ResolvedPrecision:
    """What ``auto`` means here: bf16 where the hardware multiplies it natively, fp16 on older GPUs, else fp32.

    The capability is asked for rather than ``torch.cuda.is_bf16_supported()``, which also counts emulation.
    Raises AlpacaError for fp16 on a CPU, which has no gradient scaler for it.
    """
    if cpu and wanted == "fp16":
        raise AlpacaError("fp16 training needs a GPU; on a CPU choose precision auto, fp32 or bf16")
    if wanted != "auto":
        return wanted
    if cpu:
        return "bf16" if _cpu_has_fast_bf16() else "fp32"
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"


def _cpu_has_fast_bf16() -> bool:
    """Whether the CPU has bf16 dot products. A flag, not a timing: a resumed run must choose the same again."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16"))


def load_tokenizer(model: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model or adapter directory. Raises AlpacaError where none is there or can be read."""
    _require_folder(model)
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise AlpacaError(
            f"{model} has no tokenizer: copy tokenizer.json (or tokenizer.model) of the original model into it"
        )
    try:
        return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise AlpacaError(f"the tokenizer in {model} cannot be loaded: {error}") from error


def special_tokens(tokenizer: PreTrainedTokenizerBase, model_config: Any) -> SpecialTokens:
    """The ids to train with, checked against the model: old conversions carry tokenizers with wrong ones.

    Raises AlpacaError where the end token is missing, outside the vocabulary, or not one the model stops at.
    """
    eos = tokenizer.eos_token_id
    vocabulary = model_config.vocab_size
    if eos is None or not 0 <= eos < vocabulary:
        raise AlpacaError(
            f"the tokenizer's end token has id {eos}, the model's vocabulary {vocabulary} tokens: "
            "without an end token the model would never learn to stop; mend tokenizer_config.json"
        )
    stops = model_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    if stops != [None] and eos not in stops:
        raise AlpacaError(
            f"the tokenizer ends with token {eos} but the model's config.json names {stops}; "
            "make them agree, or the tuned model will not stop"
        )
    begins = tokenizer("a").input_ids
    bos = tokenizer.bos_token_id
    # The pad id is never seen: padded places are masked out and carry no label.
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos
    return SpecialTokens(bos=bos if bos is not None and begins[:1] == [bos] else None, eos=eos, pad=pad)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    tokens: SpecialTokens,
    examples: Sequence[TrainingExample],
    max_length: int,
) -> list[Encoded]:
    """Every example as ids, in order, including those that have nothing left to learn."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    return [encode_example(ids, example, tokens.eos, max_length, tokens.bos) for example in examples]


def tracker_is_here(name: str) -> bool:
    """Whether a tracker of the Trainer is installed."""
    return name in get_available_reporting_integrations()


def check_launch(config: TrainConfig, *, cpu: bool) -> None:
    """Raises RefusedError where the method, the optimizer or a tracker needs what is not here."""
    for tracker in config.report_to:
        if tracker not in INTEGRATION_TO_CALLBACK:
            raise RefusedError(f"there is no tracker {tracker!r}; there are: {', '.join(INTEGRATION_TO_CALLBACK)}")
        if not tracker_is_here(tracker):
            raise RefusedError(f"the tracker {tracker} is not installed: pip install {tracker}")
    needs = config.method if config.method == "qlora" else config.optimizer
    if config.method != "qlora" and config.optimizer == "adamw_torch_fused":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RefusedError(f"{needs} needs bitsandbytes, which is not installed: pip install 'alpaca-tui[qlora]'")
    if cpu and config.device != "cpu":
        raise RefusedError(
            f"{needs} saves the memory of a GPU and there is none here: use --method lora "
            "(or --set device=cpu to run it slowly all the same)"
        )


def load_base(
    model: Path,
    *,
    method: Method,
    precision: ResolvedPrecision,
    cpu: bool,
    flatten: bool,
    quantization: str | None = None,
) -> PreTrainedModel:
    """The base model on the CPU (the Trainer places it), in the precision its weights are to be held in.

    Full tuning holds fp32 master weights whatever the precision of the arithmetic: updates are smaller than half
    precision resolves, and the gradient scaler refuses fp16 gradients. Under LoRA the base is frozen: it is held in
    the half precision that is computed in, for autocast would cast it anew at every pass. With ``quantization``
    (``nf4``, ``nf4-dq``) the projections are packed to 4 bits as they are read (Dettmers et al. 2023), onto the device
    itself.

    Raises AlpacaError where the directory is not a model, or weights are missing from its files.
    """
    _require_model(model)
    # In a job's log, a bar that redraws itself is noise.
    disable_progress_bar()
    halves = {"fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = torch.float32 if method == "full" else halves.get(precision, torch.float32)
    placing = _quantized(quantization, halves.get(precision, torch.float32), cpu=cpu) if quantization else {}
    try:
        base, info = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            attn_implementation=FLATTENED if flatten else "sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **placing,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise AlpacaError(f"the model in {model} cannot be loaded: {error}") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        faulty = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise AlpacaError(
            f"the files in {model} lack or misshape {len(faulty)} weights ({faulty[0]} first): the model is not whole"
        )
    return base


def _quantized(quantization: str, compute: torch.dtype, *, cpu: bool) -> dict[str, Any]:
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quantization == "nf4-dq",
        bnb_4bit_compute_dtype=compute,
    )
    place = "cpu" if cpu else int(os.environ.get("LOCAL_RANK", "0"))
    return {"quantization_config": config, "device_map": {"": place}}


def load_result(
    result: Path, base: Path | None, *, precision: ResolvedPrecision, cpu: bool
) -> tuple[Any, SpecialTokens]:
    """A saved result as it lies on disk, on the CPU: a whole model, or with ``base`` an adapter on it.

    Returns the model and the ids to prompt it with. Raises AlpacaError where it does not load or does not fit.
    """
    whole = base or result
    model: Any = load_base(whole, method="lora", precision=precision, cpu=False, flatten=False)
    tokens = special_tokens(load_tokenizer(result), model.config)
    if base is None:
        return model, tokens
    try:
        return PeftModel.from_pretrained(model, result, torch_device="cpu"), tokens
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise AlpacaError(f"the adapter {result} cannot be put on {base}: {error}") from error


def _require_folder(model: Path) -> None:
    if not model.is_dir():
        raise AlpacaError(f"{model} is not a directory: name the folder that holds the model's config.json")


def _require_model(model: Path) -> None:
    _require_folder(model)
    if not (model / "config.json").is_file():
        raise AlpacaError(f"{model} has no config.json: it is not a model folder")


def add_lora(base: PreTrainedModel, config: TrainConfig) -> PeftModel:
    """The base, frozen, with a fresh adapter in fp32. The caller seeds torch first.

    Raises AlpacaError where no layer bears one of the target names.
    """
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets),
        bias="none",
    )
    try:
        return get_peft_model(base, lora, autocast_adapter_dtype=True)
    except ValueError as error:
        raise AlpacaError(f"LoRA cannot be put on {config.model}: {error}") from error


def parameter_count(model: Path) -> int:
    """The number of weights of a model directory from its config alone; tied weights count once."""
    _require_model(model)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        ).num_parameters()
