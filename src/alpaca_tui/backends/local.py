"""The local backend: any LLaMA-like model directory, decoded in batches.

Whoever starts a process with this backend on a CPU that others use too should set ``GOMP_SPINCOUNT=2000``
in its environment: with OpenMP's default spin-waiting a competing process nearly halves the speed.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from alpaca_tui.backends.base import IsCancelled, More, OnDone, OnText, never
from alpaca_tui.backends.decode import Decoder
from alpaca_tui.backends.forward import ready
from alpaca_tui.backends.logits import check_params
from alpaca_tui.backends.memory import choose_dtype, fitting_rows, is_out_of_memory
from alpaca_tui.backends.rows import Row
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.records import Completion, Request

TEXT_INTERVAL = 0.15  # seconds between two calls of on_text for the same row


class LocalBackend:
    """A model directory loaded once, on the first GPU or else the CPU.

    ``dtype`` is float32, bfloat16 or float16 (None: what the machine does best), ``max_batch`` the rows
    decoded at once (None: as many as memory allows; halved, and remembered, when it runs out), ``threads``
    torch's CPU threads, ``adapter`` a PEFT adapter's directory that is merged into the weights. Raises
    AlpacaError when it cannot be loaded.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        dtype: str | None = None,
        device: str | None = None,
        max_batch: int | None = None,
        threads: int | None = None,
        adapter: Path | str | None = None,
        share_prefix: bool = True,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        if max_batch is not None and max_batch < 1:
            raise UsageError(f"the batch size must be at least 1, not {max_batch}")
        self.path = Path(path)
        self.name = self.path.name if adapter is None else Path(adapter).name
        self.device = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
        self.dtype = choose_dtype(dtype, self.device)
        self.tokenizer, self.model = load_model(self.path, self.dtype, self.device, adapter)
        self.context_length = int(self.model.config.max_position_embeddings)
        self.max_batch = max_batch or fitting_rows(self.model.config, self.dtype, self.device)
        eos_ids = _eos_ids(self.model, self.tokenizer)
        forward = ready(self.model)
        self._decoder = Decoder(forward, self.model.config, self.device, eos_ids, share_prefix=share_prefix)

    def complete(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        cancelled: IsCancelled = never,
        *,
        on_done: OnDone | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See ``Backend.complete``. Prompts that begin alike are read once; long and short ones may be mixed."""
        rows = [self._row(index, request) for index, request in enumerate(requests)]
        done: dict[int, Completion] = {}
        last_text = 0.0

        def on_step(active: Sequence[Row], finished: Sequence[Row]) -> None:
            nonlocal last_text
            for row in finished:
                done[row.index] = row.completion()
                if on_done is not None:
                    on_done(row.index, done[row.index])
            if on_text is not None and time.monotonic() - last_text >= TEXT_INTERVAL:
                last_text = time.monotonic()
                for row in active:
                    on_text(row.index, row.stream.text, len(row.ids))

        def further(free: int) -> list[Row]:
            fresh = [self._row(index, request) for index, request in enumerate(more(free) if more else (), len(rows))]
            rows.extend(fresh)
            return fresh

        while len(done) < len(rows):
            # The longest first: where memory does not suffice, that shows before much is computed.
            left = sorted((row for row in rows if row.index not in done), key=lambda row: len(row.prompt), reverse=True)
            try:
                self._decoder.run(deque(left), self.max_batch, on_step, cancelled, further)
                if len(done) == len(rows):
                    further(self.max_batch)
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the handler: the error's traceback would keep the tensors of the failed batch alive.
            self._shrink()
        return [done[row.index] for row in rows]

    def count_tokens(self, text: str) -> int:
        """The number of tokens of ``text``, without special tokens around it."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def close(self) -> None:
        """Frees the model; the backend is unusable afterwards."""
        self._decoder.forget()
        del self._decoder, self.model
        self._free()

    def _shrink(self) -> None:
        """Halves the batch for good. Raises AlpacaError when a single row does not fit either."""
        self._decoder.forget()
        self._free()
        if self.max_batch == 1:
            raise AlpacaError(
                f"{self.device} ran out of memory with a batch of one: close other programs that use it, shorten "
                "the prompts or max_new_tokens, or use a smaller model"
            )
        self.max_batch //= 2

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _row(self, index: int, request: Request) -> Row:
        check_params(request.params)
        prompt = self._encode(request.prompt)
        room = self.context_length - len(prompt)
        if not prompt:
            raise UsageError(f"prompt {index} is empty and this model has no beginning-of-sequence token")
        if room < 1:
            raise UsageError(
                f"prompt {index} has {len(prompt)} tokens, {self.name} reads at most {self.context_length - 1} and "
                "needs one for its answer: shorten the prompt or show fewer demonstrations"
            )
        choices = [self._choice(request.prompt, prompt, choice) for choice in request.choices]
        if len(set(choices)) < len(choices):
            raise UsageError(f"the choices {request.choices} begin with the same token: they cannot be told apart")
        limit = min(request.params.max_new_tokens, room)
        return Row(index, request, prompt, limit, choices, self._decode)

    def _encode(self, text: str) -> list[int]:
        """The prompt's tokens. A chat template writes the beginning-of-sequence token itself: it is not doubled."""
        bos = self.tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _choice(self, text: str, prompt: list[int], choice: str) -> int:
        """The first token of ``choice`` where it follows the prompt; its first token alone where the seam merges."""
        whole = self._encode(text + choice)
        if len(whole) > len(prompt) and whole[: len(prompt)] == prompt:
            return whole[len(prompt)]
        alone = self.tokenizer(choice, add_special_tokens=False)["input_ids"]
        if not alone:
            raise UsageError("a choice must not be empty")
        return int(alone[0])

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def load_model(path: Path, dtype: torch.dtype, device: torch.device, adapter: Path | str | None) -> tuple[Any, Any]:
    """The tokenizer and the model, ready to decode. Raises AlpacaError in one sentence."""
    transformers_logging.disable_progress_bar()
    # The adapter was learnt beside fp32 weights on a CPU. Added to weights that were rounded before, it would be
    # rounded twice; merged in fp32 first, the loss keeps its gain (within 1 % on the embedded model), while a pass with
    # the adapter left unmerged takes 1.4 times as long. On a GPU the base was tuned in half precision already.
    merging = torch.float32 if adapter is not None and device.type == "cpu" else dtype
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        _attend_fully(config)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=merging,
            attn_implementation="sdpa",
            device_map={"": device},
            local_files_only=True,
        )
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True).merge_and_unload()
            # Only the weights: the rotary frequencies stay fp32, as from_pretrained leaves them.
            for weight in model.parameters():
                weight.data = weight.data.to(dtype)
            model.config.dtype = dtype
    except AlpacaError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise AlpacaError(
                f"{path} does not fit into the memory of {device}: choose a smaller model or a smaller dtype"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AlpacaError(f"the model in {path} cannot be loaded: {reason}") from error
    model.requires_grad_(False)
    return tokenizer, model.eval()


def _attend_fully(config: Any) -> None:
    """Turns a sliding window into whole attention over a context as long as the window, where the two are
    the same.

    Raises AlpacaError for layers that hold something else than keys and values of all tokens.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"} or not hasattr(config, "num_hidden_layers"):
        raise AlpacaError(f"{config.model_type} is not a LLaMA-like model: its layers are {', '.join(sorted(kinds))}")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        config.max_position_embeddings = min(config.max_position_embeddings, window)
        config.sliding_window = None
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention"] * config.num_hidden_layers


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that any of the model's files calls the end: old conversions disagree among themselves."""
    named = [model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id]
    flat = [item for value in named for item in (value if isinstance(value, list) else [value])]
    return frozenset(item for item in flat if isinstance(item, int))
