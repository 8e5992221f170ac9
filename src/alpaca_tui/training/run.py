"""The recipe from top to bottom: configuration, model, data, loop, save."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel, set_seed
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from alpaca_tui.core.errors import LOST_PEERS, AlpacaError, RefusedError
from alpaca_tui.core.fallback import next_down
from alpaca_tui.core.masking import Encoded, EncodingReport, check_encoding, describe, keep_supervised
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training import guard, sharding
from alpaca_tui.training.callbacks import (
    GuardCallback,
    MetricsCallback,
    OnEvent,
    OnMetrics,
    SealCallback,
    StopCallback,
)
from alpaca_tui.training.card import model_card
from alpaca_tui.training.checkpoints import find_newest, set_aside, step_of
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.data import (
    MicroBatches,
    PaddedCollator,
    Plan,
    collate_flattened,
    evaluation_batches,
    plan_run,
)
from alpaca_tui.training.lean import make_lean
from alpaca_tui.training.loop import RecipeTrainer, arguments
from alpaca_tui.training.model import (
    ResolvedPrecision,
    SpecialTokens,
    add_lora,
    check_launch,
    encode,
    load_base,
    load_tokenizer,
    resolve_precision,
    special_tokens,
    wants_cpu,
)
from alpaca_tui.training.probe import ProbeResult
from alpaca_tui.training.save import save_result

RESULT = {"lora": "adapter", "qlora": "adapter", "full": "model"}
"""The folder in ``output_dir`` that holds the result of each method."""

# What gloo and NCCL say when a process at the other end is gone.
_PEER_IS_GONE = ("Connection closed by peer", "Connection reset by peer", "remote process exited", "Broken pipe")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended. Losses are in nats per supervised token; held-out ones are None without held-out examples.

    ``loss_first`` and ``eval_loss_first`` are those of the run's first start, also after a resumption.
    ``adapter`` is the folder of the adapter (of the whole model after full tuning), None where the run was
    ``stopped`` before its last step: its checkpoint then lets it go on.
    """

    steps: int
    loss_first: float
    loss_last: float
    eval_loss_first: float | None
    eval_loss_last: float | None
    adapter: Path | None
    stopped: bool
    report: EncodingReport


@dataclass(frozen=True, slots=True)
class _Data:
    train: list[Encoded]
    held_out: list[Encoded]
    report: EncodingReport
    plan: Plan


def run(
    config: TrainConfig,
    train: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample] = (),
    on_metrics: OnMetrics = lambda step, metrics: None,
    on_event: OnEvent = lambda kind, message: None,
    should_stop: Callable[[], bool] = lambda: False,
    about: Mapping[str, Any] | None = None,
    planned_bytes: Callable[[int], float] | None = None,
) -> TrainResult:
    """Fine-tune ``config.model`` on ``train``; works in one process and in every process of ``accelerate launch``.

    Only process 0 reports and writes the result. The held-out loss is taken before the first step, every
    ``eval_every`` steps and at the end. A stop is obeyed after the step in flight or amid an evaluation, with a
    checkpoint; a resumed run makes up for the evaluation. ``about`` (data set, hash, licences, plan) goes into the
    model card; ``planned_bytes`` tells the planned peak of a micro-batch of so many tokens, to be held against the
    probe's.

    Raises AlpacaError (a model that cannot be loaded, a full disk), RefusedError (nothing to learn, a checkpoint of
    another run), TrainingHalted (a guard saw numbers that no sound run has) or Cancelled (stopped in the evaluation
    before its first step, with nothing to save).
    """
    try:
        return _run(config, train, held_out, on_metrics, on_event, should_stop, about or {}, planned_bytes)
    except (OSError, RuntimeError, SafetensorError) as error:
        explained = _explain(error, config)
        if explained is None:
            raise
        raise explained from error


def _run(
    config: TrainConfig,
    train: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
    on_metrics: OnMetrics,
    on_event: OnEvent,
    should_stop: Callable[[], bool],
    about: Mapping[str, Any],
    planned_bytes: Callable[[int], float] | None,
) -> TrainResult:
    world_size, rank = sharding.world()
    report = on_event if rank == 0 else _silent
    cpu = wants_cpu(config.device)
    precision = resolve_precision(config.precision, cpu=cpu)
    report("precision", f"computing in {precision} on the {'CPU' if cpu else 'GPU'} in {world_size} process(es)")
    check_launch(config, cpu=cpu)
    sharding.prepare(config, cpu=cpu)
    set_seed(config.seed)

    tokenizer = load_tokenizer(config.model)
    model, tokens, vocabulary = _model(config, tokenizer, precision=precision, cpu=cpu)

    train_ids = encode(tokenizer, tokens, train, config.max_length)
    held_ids = encode(tokenizer, tokens, held_out, config.max_length)
    data = _prepare(config, train_ids, held_ids, world_size)
    report("encoded", data.report.summary)
    report("eos", f"{data.report.eos_supervised / data.report.examples:.0%} of the examples teach the end token")

    trainer = _trainer(config, model, data, tokens, precision=precision, cpu=cpu)
    fingerprint = run_fingerprint(config, data.train, precision)
    checkpoint = _resume_point(config, trainer, fingerprint, report)
    trainer.args.eval_on_start = bool(data.held_out) and _owes_evaluation(checkpoint, config.eval_every)
    stop = StopCallback(should_stop, trainer.any_process)
    trainer.abandons_evaluation = lambda: stop.abandons_evaluation(trainer.control)
    trainer.probes = config.probe
    trainer.on_probed = lambda found: _probed(found, planned_bytes, on_metrics if rank == 0 else _unheard, report)
    _listen(trainer, data.plan, stop, fingerprint, config.keep_checkpoints, vocabulary, precision, on_metrics, report)

    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not stop.stopped:
        _evaluate_last(trainer)
    if not stop.stopped:
        return _finish(config, trainer, data, tokenizer, report, about)
    report("stopped", f"stopped after step {trainer.state.global_step} of {data.plan.steps}; it can be resumed")
    return _result(trainer, data, None, stopped=True)


def _model(
    config: TrainConfig, tokenizer: PreTrainedTokenizerBase, *, precision: ResolvedPrecision, cpu: bool
) -> tuple[PreTrainedModel | PeftModel, SpecialTokens, int]:
    """What learns, the ids that encoding adds, and the size of the vocabulary."""
    base = load_base(
        config.model,
        method=config.method,
        precision=precision,
        cpu=cpu,
        flatten=config.flatten,
        quantization=config.quantization if config.method == "qlora" else None,
    )
    tokens = special_tokens(tokenizer, base.config)
    vocabulary = base.config.vocab_size
    model = base if config.method == "full" else add_lora(base, config)
    if cpu:
        make_lean(model)
    return model, tokens, vocabulary


def _listen(
    trainer: RecipeTrainer,
    plan: Plan,
    stop: StopCallback,
    fingerprint: str,
    keep: int,
    vocabulary: int,
    precision: ResolvedPrecision,
    on_metrics: OnMetrics,
    on_event: OnEvent,
) -> None:
    """Let metrics out, seal checkpoints, obey a stop, and watch for numbers that no sound run has."""
    accelerator = trainer.accelerator
    trainer.add_callback(MetricsCallback(plan, on_metrics))
    trainer.add_callback(
        SealCallback(fingerprint=fingerprint, keep=keep, wait_for_all=accelerator.wait_for_everyone, on_event=on_event)
    )
    trainer.add_callback(stop)
    # Last, so that it sees a save that a stop asks for.
    trainer.add_callback(
        GuardCallback(
            scaled=precision == "fp16",
            vocabulary=vocabulary,
            scale=lambda: accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0,
        )
    )


def run_fingerprint(config: TrainConfig, train: Sequence[Encoded], precision: ResolvedPrecision) -> str:
    """A hash of what decides the weights: settings and token ids, not the number of processes nor the paths."""
    deciding = config.model_dump(
        mode="json",
        exclude={
            "model", "output_dir", "device", "precision", "micro_batch", "save_every", "keep_checkpoints",
            "eval_every", "resume", "report_to", "gradient_checkpointing", "probe", "max_truncated",
        },
    )  # fmt: skip
    digest = hashlib.sha256(json.dumps({**deciding, "precision": precision}, sort_keys=True).encode())
    for item in train:
        digest.update(json.dumps([item.input_ids, item.prompt_tokens]).encode())
    return digest.hexdigest()


def _prepare(config: TrainConfig, train: list[Encoded], held_out: list[Encoded], world_size: int) -> _Data:
    encoding = describe(train)
    check_encoding(encoding, config.max_length, config.max_truncated)
    kept = keep_supervised(train)
    plan = plan_run(
        [len(item.input_ids) for item in kept],
        global_batch=config.global_batch,
        micro_batch=config.micro_batch,
        world_size=world_size,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
        by_length=not config.flatten,
    )
    return _Data(kept, keep_supervised(held_out), encoding, plan)


def _trainer(
    config: TrainConfig,
    model: PreTrainedModel | PeftModel,
    data: _Data,
    tokens: SpecialTokens,
    *,
    precision: ResolvedPrecision,
    cpu: bool,
) -> RecipeTrainer:
    collate = collate_flattened if config.flatten else PaddedCollator(tokens.pad)
    held_out = MicroBatches(data.held_out, evaluation_batches(data.held_out, config.micro_batch), collate)
    return RecipeTrainer(
        model=model,
        args=arguments(config, data.plan, precision=precision, cpu=cpu, evaluate=bool(data.held_out)),
        train_dataset=MicroBatches(data.train, data.plan.micro_batches, collate),
        eval_dataset=held_out if data.held_out else None,
    )


def _resume_point(config: TrainConfig, trainer: RecipeTrainer, fingerprint: str, on_event: OnEvent) -> Path | None:
    """The checkpoint to go on from. Torn ones are named and moved out of the way."""
    # Process 0 renames below; the others must have looked before, or they would see another folder.
    found = find_newest(config.output_dir, fingerprint)
    trainer.accelerator.wait_for_everyone()
    if found.newest is not None and not config.resume:
        raise RefusedError(
            f"{config.output_dir} holds {found.newest.name} of an earlier run; resume it, or train into another folder"
        )
    if trainer.is_world_process_zero():
        for torn, reason in found.torn:
            aside = set_aside(torn)
            on_event("torn", f"{torn.name} is torn and skipped, kept as {aside.name}: {reason}")
        if found.newest is not None:
            on_event("resumed", f"going on from {found.newest.name}")
    trainer.accelerator.wait_for_everyone()
    return found.newest


def _owes_evaluation(checkpoint: Path | None, every: int) -> bool:
    """Whether a start begins with an evaluation: the run's first, or one that a stop cut short."""
    if checkpoint is None:
        return True
    step = step_of(checkpoint)
    logged = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["log_history"]
    return step % every == 0 and not any("eval_loss" in item and item["step"] == step for item in logged)


def _evaluate_last(trainer: RecipeTrainer) -> None:
    if trainer.eval_dataset is not None and [s for s, _ in trainer.logged("eval_loss")][-1:] != [
        trainer.state.global_step
    ]:
        trainer.evaluate()


def _finish(
    config: TrainConfig,
    trainer: RecipeTrainer,
    data: _Data,
    tokenizer: PreTrainedTokenizerBase,
    on_event: OnEvent,
    about: Mapping[str, Any],
) -> TrainResult:
    """Look at what was learnt, and write it."""
    step = trainer.state.global_step
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    guard.check_adapter_moved(model, step)
    target = config.output_dir / RESULT[config.method]
    gathered = sharding.whole_state(trainer)
    if trainer.is_world_process_zero():
        settings = config.model_dump(mode="json")
        facts = {"step": step, "settings": settings, "encoding": asdict(data.report), "about": dict(about)}
        card = model_card(config.method, settings, about, data.report, trainer.state.log_history)
        save_result(model, tokenizer, target, facts, gathered, card)
        on_event("saved", f"the {target.name} is saved, read back and sound: {target}")
    trainer.accelerator.wait_for_everyone()
    return _result(trainer, data, target, stopped=False)


def _result(trainer: RecipeTrainer, data: _Data, adapter: Path | None, *, stopped: bool) -> TrainResult:
    losses = [value for _, value in trainer.logged("loss")]
    held_out = [value for _, value in trainer.logged("eval_loss")]
    return TrainResult(
        steps=trainer.state.global_step,
        loss_first=losses[0],
        loss_last=losses[-1],
        eval_loss_first=held_out[0] if held_out else None,
        eval_loss_last=held_out[-1] if held_out else None,
        adapter=adapter,
        stopped=stopped,
        report=data.report,
    )


def _explain(error: Exception, config: TrainConfig) -> AlpacaError | None:
    """The error in a user's words, where it is one that a user can mend."""
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch's writer and safetensors report a full disk in their own exceptions.
    if full or "No space left" in text or "PytorchStreamWriter failed" in text:
        return AlpacaError(f"the disk of {config.output_dir} is full; free some space and resume")
    if any(sign in text for sign in _PEER_IS_GONE):
        return AlpacaError(f"{LOST_PEERS}: it has ended or was killed, its own message stands above in the log")
    # The CPU's allocator has no exception of its own.
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        size, _ = sharding.world()
        cpu = wants_cpu(config.device)
        offload = os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true"
        advice = next_down(
            config.method,
            micro_batch=config.micro_batch,
            checkpointing=config.gradient_checkpointing,
            sharded=sharding.shards_by_fsdp() or sharding.shards_by_deepspeed(),
            offload=offload,
            gpus=0 if cpu else size,
        )
        return AlpacaError(
            f"{'the memory' if cpu else 'the memory of the GPU'} did not suffice for {config.method} with micro_batch "
            f"{config.micro_batch} and max_length {config.max_length}; try: {advice}"
        )
    return None


def _probed(
    found: ProbeResult, planned_bytes: Callable[[int], float] | None, on_metrics: OnMetrics, on_event: OnEvent
) -> None:
    """Tell the real peak, beside the plan's for as many tokens where there is one."""
    measured = {"probe_peak_bytes": float(found.peak), "probe_reserved_bytes": float(found.reserved)}
    what = "allocated on the fullest GPU" if found.on_gpu else "resident in the largest process"
    said = f"the longest micro-batch ({found.tokens} tokens) peaks at {found.peak / 2**30:.2f} GiB {what}"
    if planned_bytes is not None:
        measured["probe_planned_bytes"] = planned_bytes(found.tokens)
        said += f"; planned {measured['probe_planned_bytes'] / 2**30:.2f} GiB"
    on_metrics(0, measured)
    on_event("probe", said)


def _unheard(step: int, metrics: dict[str, float]) -> None:
    """What the other processes measure."""


def _silent(kind: str, message: str) -> None:
    """What the other processes report."""
