"""The proof of a result: a fresh process loads it from disk and lets it speak; only then has a training succeeded.

``python -m alpaca_tui.training.prove FOLDER`` reads a request (JSON) from stdin and writes what it saw to stdout.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError, Cancelled
from alpaca_tui.core.proof import Spoken, refusal
from alpaca_tui.core.records import TrainingExample
from alpaca_tui.training.callbacks import OnEvent
from alpaca_tui.training.config import TrainConfig
from alpaca_tui.training.guard import TrainingHalted

PROMPTS = 3
MOST_TOKENS = 32
_LARGE = 2e9  # above so many parameters a CPU holds the model in half precision
_LAUNCHER = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "MASTER_", "GROUP_", "ROLE_", "LOCAL_", "RANK", "WORLD_SIZE")


def prove_result(
    result: Path,
    config: TrainConfig,
    examples: Sequence[TrainingExample],
    on_event: OnEvent,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let a saved result answer up to three prompts of ``examples`` in a process of its own.

    Raises TrainingHalted with the reason where it does not load, holds NaN, has not the sizes that its config names,
    or answers most prompts with nothing or in circles; its folder is then renamed to ``refused-…``, the checkpoints
    stay. Raises Cancelled after a stop.
    """
    asked = examples[:: max(1, len(examples) // PROMPTS)][:PROMPTS]
    base = None if config.method == "full" else config.model
    on_event("proof", f"loading the {result.name} in a fresh process; it answers {len(asked)} prompts")
    try:
        answers = ask(result, base, asked, config.device, config.max_length, should_stop)
        reason = refusal(answers)
    except AlpacaError as error:
        reason = str(error)
    if reason is not None:
        aside = result.with_name(f"refused-{result.name}")
        if not aside.exists():
            result.rename(aside)
        raise TrainingHalted(f"the saved {result.name} is no result: {reason}; the checkpoints are kept")
    on_event("proved", f"the {result.name} loads in a fresh process and speaks: {answers[0].text.strip()[:80]!r}")


def ask(
    result: Path,
    base: Path | None,
    examples: Sequence[TrainingExample],
    device: str = "auto",
    max_length: int = 512,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Spoken]:
    """What a saved model (with ``base``: an adapter on it) answers in a process of its own.

    Raises AlpacaError with what is amiss, Cancelled after a stop.
    """
    request = {
        "base": str(base) if base else None,
        "device": device,
        "max_length": max_length,
        "examples": [asdict(example) for example in examples],
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER)}
    process = subprocess.Popen(
        [sys.executable, "-m", "alpaca_tui.training.prove", str(result)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True, encoding="utf-8",
    )  # fmt: skip
    sent: str | None = json.dumps(request)
    while True:
        try:
            out, err = process.communicate(sent, timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            sent = None
            if should_stop():
                process.kill()
                process.wait()
                raise Cancelled from None
    if process.returncode:
        last = (err.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1]
        raise AlpacaError(f"it does not work in a fresh process: {last.removeprefix('error: ')}")
    return [Spoken(tuple(a["ids"]), a["text"], tuple(a["reference"])) for a in json.loads(out)["answers"]]


def speak(result: Path, request: Mapping[str, Any]) -> list[Spoken]:
    """Load a result as anybody would, look at every weight, and answer. Raises AlpacaError with what is amiss."""
    import torch

    from alpaca_tui.training.model import encode, load_result, load_tokenizer, resolve_precision, wants_cpu

    torch.manual_seed(0)
    base = Path(request["base"]) if request["base"] else None
    cpu = wants_cpu(request["device"]) or not _fits_gpu(base or result)
    large = sum(path.stat().st_size for path in (base or result).glob("*.safetensors")) > 2 * _LARGE
    precision = resolve_precision("bf16" if cpu and large else "fp32" if cpu else "auto", cpu=cpu)
    model, tokens = load_result(result, base, precision=precision, cpu=cpu)
    _look(model)
    tokenizer = load_tokenizer(result)
    model.to("cpu" if cpu else "cuda").eval()
    examples = [TrainingExample(**example) for example in request["examples"]]
    answers = []
    with torch.inference_mode():
        for encoded in encode(tokenizer, tokens, examples, request["max_length"]):
            prompt = torch.tensor([encoded.input_ids[: encoded.prompt_tokens]], device=model.device)
            made = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=MOST_TOKENS,
                # Sampled: greedily, a sound but small model runs in circles as well.
                do_sample=True,
                temperature=0.7,
                top_p=0.9,
                pad_token_id=tokens.pad,
                eos_token_id=tokens.eos,
            )
            ids = tuple(i for i in made[0, prompt.shape[1] :].tolist() if i != tokens.eos)
            reference = tuple(encoded.input_ids[encoded.prompt_tokens : -1])
            answers.append(Spoken(ids, tokenizer.decode(ids, skip_special_tokens=True), reference))
    return answers


def _look(model: Any) -> None:
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise AlpacaError(f"the weight {name} holds NaN or infinity")
    table = model.get_input_embeddings().weight
    wanted = (model.config.vocab_size, model.config.hidden_size)
    if tuple(table.shape) != wanted:
        raise AlpacaError(f"the embeddings are {tuple(table.shape)}, the config says {wanted}")


def _fits_gpu(folder: Path) -> bool:
    import torch

    if not torch.cuda.is_available():
        return False
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    # The training process may still hold this GPU's memory.
    return torch.cuda.mem_get_info()[0] > 1.3 * size + math.ldexp(1, 30)


def main() -> int:
    """Answer the request on stdin; 1 and a sentence on stderr where the result is not sound."""
    request = json.loads(sys.stdin.read())
    began = time.monotonic()
    try:
        answers = speak(Path(sys.argv[1]), request)
    except AlpacaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    value = {"answers": [asdict(answer) for answer in answers], "seconds": time.monotonic() - began}
    print(json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
