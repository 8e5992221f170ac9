"""The loop itself: the Hugging Face Trainer over a planned run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerControl, TrainingArguments

from alpaca_tui.core.scoring import mean_loss
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.data import Batch, MicroBatches, Plan, first_item
from alpaca_tui.training.loss import summed_loss
from alpaca_tui.training.model import ResolvedPrecision
from alpaca_tui.training.probe import ProbeResult, run_probe
from alpaca_tui.training.sharding import MEET_TIMEOUT_S, shards_by_fsdp


def arguments(
    config: TrainConfig, plan: Plan, *, precision: ResolvedPrecision, cpu: bool, evaluate: bool
) -> TrainingArguments:
    """The Trainer's arguments. One item of its data set is one micro-batch of the plan, hence batch size 1."""
    # Accumulated without it, FSDP keeps every gradient whole until the last micro-batch of a step: 2N bytes a GPU.
    accelerator_config = {"gradient_accumulation_kwargs": {"sync_each_batch": shards_by_fsdp()}}
    args = TrainingArguments(
        output_dir=str(config.output_dir),
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.accumulation,
        train_sampling_strategy="sequential",
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_ratio,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=cpu,
        # FSDP wraps the layers itself (sharding.prepare tells it so), and the Trainer refuses to do it twice.
        activation_checkpointing=config.gradient_checkpointing and not shards_by_fsdp(),
        # The reentrant kind finds no gradient behind a frozen embedding, and LoRA would silently learn nothing.
        activation_checkpointing_kwargs={"use_reentrant": False},
        logging_strategy="steps",
        logging_steps=1,
        # By default the Trainer hides NaN losses from its log.
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=config.save_every,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=config.eval_every if evaluate else None,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=not cpu,
        ddp_find_unused_parameters=False,
        ddp_timeout=MEET_TIMEOUT_S,
        accelerator_config=accelerator_config,
        remove_unused_columns=False,
    )
    if args.n_gpu > 1:
        # One process that sees several GPUs: nn.DataParallel cannot split a flattened batch.
        args._n_gpu = 1
    return args


class RecipeTrainer(Trainer):
    """The Trainer with the recipe's loss: a sum over labels, divided by all labels of the optimiser step.

    ``eval_dataset`` is a ``MicroBatches`` as well. The Trainer's own evaluation averages the means of batches; this
    one weighs every supervised token alike, and draws no random number, so that evaluating changes no training.
    ``abandons_evaluation`` is asked by every process before each of its batches.
    """

    loss_is_scaled_for_ga = True
    abandons_evaluation: Callable[[], bool] = staticmethod(lambda: False)
    probes: bool = False
    on_probed: Callable[[ProbeResult], None] = staticmethod(lambda found: None)
    control: TrainerControl

    def __init__(self, *, train_dataset: MicroBatches, eval_dataset: MicroBatches | None, **kwargs: Any) -> None:
        super().__init__(train_dataset=train_dataset, eval_dataset=eval_dataset, data_collator=first_item, **kwargs)
        # It prints to standard output, where only data may go.
        self.remove_callback(PrinterCallback)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The micro-batches of one optimiser step here, and the number of labels in it over all processes."""
        batches = list(islice(epoch_iterator, num_batches))
        labels = torch.tensor(sum(batch["labels"].numel() for batch in batches), device=device)
        if self.args.world_size > 1:
            labels = self.accelerator.gather(labels).sum()
        return batches, labels

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """Model and optimizer are as training will have them from here on: the moment to probe."""
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.probes:
            self.on_probed(run_probe(self))
        return prepared

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """This micro-batch's share of the step's mean loss per supervised token."""
        if return_outputs or num_items_in_batch is None:
            raise ValueError("the recipe's loss is only computed within a training step")
        # Data parallel training averages gradients over processes; the mean is over all labels, so undo that.
        return summed_loss(model, inputs) * self.args.world_size / num_items_in_batch

    @torch.no_grad()
    def evaluate(
        self,
        eval_dataset: Dataset[Batch] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The held-out loss per supervised token, in nats, logged and returned as ``eval_loss``.

        An evaluation that is abandoned logs and returns nothing.
        """
        batches = eval_dataset if eval_dataset is not None else self.eval_dataset
        if not isinstance(batches, MicroBatches):
            raise ValueError("held-out examples must be given as micro-batches")
        model = self.model_wrapped
        was_training = model.training
        model.eval()
        for module in model.modules():
            if type(module).__module__.startswith("bitsandbytes"):
                # A 4-bit layer evaluates no differently, but on a CPU it is repacked for good, without gradients.
                module.train()
        world, rank = self.args.world_size, self.args.process_index
        sums: list[torch.Tensor] = []
        # Every process runs as often as the others (sharded models need that); surplus turns count nothing.
        for turn in range(math.ceil(len(batches) / world)):
            if self.abandons_evaluation():
                model.train(was_training)
                return {}
            index = turn * world + rank
            batch = self._prepare_inputs(batches[min(index, len(batches) - 1)])
            total = summed_loss(model, batch)
            labels = total.new_tensor(batch["labels"].numel())
            sums.append(torch.stack((total, labels)) * (index < len(batches)))
        model.train(was_training)
        gathered = self.accelerator.gather(torch.stack(sums).double()).tolist()
        loss, _ = mean_loss((total, int(labels)) for total, labels in gathered)
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process: a signal may reach them at different steps."""
        if self.args.world_size == 1:
            return flag
        flags = self.accelerator.gather(torch.tensor(int(flag), device=self.args.device))
        return bool(flags.any())

    def logged(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of everything logged under ``name`` since the run's first start, resumptions included."""
        return [(item["step"], item[name]) for item in self.state.log_history if name in item]
