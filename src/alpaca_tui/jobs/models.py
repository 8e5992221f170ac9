"""Which model a SPEC means: found on disk, in the Hugging Face cache or made on first use, without loading torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs.modelfacts import ModelFacts, check, model_facts, read_json

__all__ = [
    "EMBEDDED",
    "UNDERSTOOD",
    "ModelFacts",
    "ModelRef",
    "cache_root",
    "check",
    "embedded_dir",
    "ensure_embedded",
    "model_facts",
    "resolve",
]

EMBEDDED = "smollm2-135m"
UNDERSTOOD = (
    f"{EMBEDDED} (the embedded model)",
    "a model directory",
    "a Hugging Face id such as org/name",
    "openai:MODEL or openai:MODEL@BASE_URL (an OpenAI-compatible server)",
)

_MARKER = "alpaca_tui_conversion.json"  # written last by alpaca_tui.backends.embedded
_CONVERSION = 1
_HUB_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "tokenizer.model",
    "*.jinja",
    "merges.txt",
]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ENDPOINT = re.compile(r"openai:(?P<model>[^@\s]+)(?:@(?:(?P<url>https?://[^\s@]+)|(?P<section>[\w.-]+)))?")

Kind = Literal["embedded", "directory", "hub", "openai"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """What a SPEC resolved to.

    ``path`` is the model directory (None for an endpoint); ``adapter`` is a PEFT adapter's directory whose
    base model lies in ``path``; ``base_url`` is an endpoint's address (None means the provider's own).
    """

    spec: str
    kind: Kind
    path: Path | None
    name: str
    base_url: str | None = None
    adapter: Path | None = None
    section: str | None = None
    """An endpoint's section in config.toml: ``openai:MODEL@NAME``."""


def cache_root() -> Path:
    """Where converted models are kept: ``$ALPACA_TUI_CACHE``, else the user's cache directory."""
    override = os.environ.get("ALPACA_TUI_CACHE")
    return Path(override).expanduser().absolute() if override else Path(platformdirs.user_cache_dir("alpaca-tui"))


def embedded_dir(cache_dir: Path | None = None) -> Path:
    """Where the embedded model lies once it has been made."""
    return (cache_dir or cache_root()) / "models" / EMBEDDED


def ensure_embedded(cache_dir: Path | None = None, on_line: Callable[[str], None] | None = None) -> Path:
    """The directory of the embedded model, made first (30 s and a 93 MB download, once) where it is missing.

    Progress lines go to ``on_line``, by default to stderr. Raises AlpacaError with the reason when it
    cannot be made.
    """
    directory = embedded_dir(cache_dir)
    try:
        if read_json(directory / _MARKER).get("conversion") == _CONVERSION:
            return directory
    except AlpacaError:
        pass  # missing or torn: made below
    report = on_line or (lambda line: print(line, file=sys.stderr, flush=True))
    last = ""
    # A process of its own: the conversion needs torch, which the callers of this module must not load.
    command = [sys.executable, "-m", "alpaca_tui.backends.embedded", str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if last:
                report(last)
            last = line.rstrip()
    if process.returncode:
        raise AlpacaError(last or f"making the embedded model ended with code {process.returncode}")
    if last:
        report(last)
    return directory


def resolve(
    spec: str,
    cache_dir: Path | None = None,
    *,
    fetch: bool = True,
    on_line: Callable[[str], None] | None = None,
) -> ModelRef:
    """What ``spec`` means, with its files on this machine.

    With ``fetch`` False nothing is downloaded or converted, and ``path`` may be a directory that is still
    to be made (embedded) or None (hub). Raises UsageError for a SPEC that means nothing, AlpacaError when
    its files cannot be had.
    """
    spec = spec.strip()
    if spec == EMBEDDED:
        path = ensure_embedded(cache_dir, on_line) if fetch else embedded_dir(cache_dir)
        return ModelRef(spec, "embedded", path, EMBEDDED)
    if spec.startswith("openai:"):
        return _endpoint(spec)
    directory = Path(spec).expanduser()
    if spec and directory.is_dir():
        return _directory(spec, directory.absolute(), cache_dir, fetch)
    if _HUB_ID.fullmatch(spec):
        return ModelRef(spec, "hub", _hub(spec, fetch), spec.split("/")[1])
    if "/" in spec or spec.startswith("~"):
        kind = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"the model directory {spec} {kind}; a model can be {', '.join(UNDERSTOOD)}")
    raise UsageError(f"unknown model {spec!r}; a model can be {', '.join(UNDERSTOOD)}")


def _endpoint(spec: str) -> ModelRef:
    match = _ENDPOINT.fullmatch(spec)
    if match is None:
        raise UsageError(
            f"{spec!r} does not name an endpoint's model: write openai:MODEL or "
            "openai:MODEL@BASE_URL, for example openai:my-model@http://localhost:8000/v1"
        )
    url = match["url"]
    return ModelRef(spec, "openai", None, match["model"], url.rstrip("/") if url else None, section=match["section"])


def _directory(spec: str, directory: Path, cache_dir: Path | None, fetch: bool) -> ModelRef:
    if not (directory / "adapter_config.json").is_file() or (directory / "config.json").is_file():
        return ModelRef(spec, "directory", directory, directory.name)
    base = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise AlpacaError(
            f"the adapter in {directory} does not say which model it belongs to "
            "(base_model_name_or_path in adapter_config.json)"
        )
    try:
        resolved = resolve(base, cache_dir, fetch=fetch)
    except AlpacaError as error:
        raise AlpacaError(f"the base model of the adapter in {directory} was not found: {error}") from error
    return ModelRef(spec, "directory", resolved.path, directory.name, adapter=directory)


def _hub(name: str, fetch: bool) -> Path | None:
    """The snapshot of ``name`` in the Hugging Face cache; downloaded where it is missing or incomplete."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(name, local_files_only=True))
        check(path)  # the cache also answers with a half-finished download
        return path
    except (hub.LocalEntryNotFoundError, AlpacaError):
        if not fetch:
            return None
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except hub.GatedRepoError as error:
        raise AlpacaError(
            f"{name} is gated: accept its licence on the Hugging Face hub and log in with `hf auth login`"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise UsageError(f"the Hugging Face hub has no model {name} (or it is private: `hf auth login`)") from error
    except Exception as error:  # whatever the network stack raises is the same to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AlpacaError(
            f"{name} is neither a directory here nor in the Hugging Face cache, and downloading it failed: {reason}"
        ) from error
