"""What a model directory holds, read from its config and its safetensors headers alone: no weights are loaded."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError

_HEADER_LIMIT = 100 * 2**20  # the format's own limit on a header, in bytes
_ID_FIELDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_PICKLED = ("*.bin", "*.pt", "*.pth")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The shape of a causal language model. Ids are None (eos: empty) where the files name none.

    ``parameters`` is computed from the config, ``stored_parameters`` counted in the safetensors headers (0
    where there are none); the two agree for a plain LLaMA. ``notes`` are oddities that a user should know
    and that stop nothing.
    """

    architecture: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    tied_embeddings: bool
    parameters: int
    stored_parameters: int
    weight_bytes: int
    dtype: str
    bos_id: int | None
    eos_ids: tuple[int, ...]
    pad_id: int | None
    notes: tuple[str, ...] = ()

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token holds at 2 bytes per element."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def parameter_count(
    *,
    vocab: int,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    tied: bool,
) -> int:
    """The number of parameters of a LLaMA-shaped model.

    N = 2Vh + L(4h² + 3hI + 2h) + h where every head has its own keys (Touvron et al. 2023, table 2, counts the same
    shapes); grouped keys narrow two of the four projections, tied embeddings drop one Vh.
    """
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    embeddings = vocab * hidden * (1 if tied else 2)
    return embeddings + layers * (attention + 3 * hidden * intermediate + 2 * hidden) + hidden


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises AlpacaError naming the file when it is missing or is not one."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise AlpacaError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AlpacaError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise AlpacaError(f"{path} holds no JSON object")
    return value


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, from its header (8 bytes of length, then JSON).

    Raises AlpacaError when the header is damaged or the file is shorter or longer than the header says.
    """
    torn = f"{path} is damaged or was not downloaded completely: fetch it again"
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            prefix = handle.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise AlpacaError(torn)
            raw = json.loads(handle.read(length))
        tensors = {
            name: Tensor(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            for name, entry in raw.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise AlpacaError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AlpacaError(torn) from error
    if size != 8 + length + max((tensor.end for tensor in tensors.values()), default=0):
        raise AlpacaError(torn)
    return tensors


def weights(path: Path) -> dict[str, Tensor]:
    """All tensors of the model in ``path``, over all its shards.

    Raises AlpacaError when there are no safetensors, a shard is missing or damaged, or a shard lacks a
    tensor that the index places in it.
    """
    index = path / "model.safetensors.index.json"
    single = path / "model.safetensors"
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise AlpacaError(_no_safetensors(path))
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise AlpacaError(f"{index} holds no weight_map: fetch it again")
    found: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if not (path / shard).is_file():
            raise AlpacaError(f"{path} lacks the weights file {shard} that its index names: fetch it again")
        found.update(read_header(path / shard))
    missing = [name for name in places if name not in found]
    if missing:
        raise AlpacaError(f"{path} lacks {len(missing)} tensors that its index names, {missing[0]} among them")
    return found


def _no_safetensors(path: Path) -> str:
    if any(next(path.glob(pattern), None) for pattern in _PICKLED):
        return (
            f"{path} holds its weights as pickled .bin files only, which can run code when they are loaded: "
            "convert them once, on a machine where you trust them, with AutoModelForCausalLM.from_pretrained(DIR)"
            ".save_pretrained(NEW), and copy the tokenizer files"
        )
    return f"{path} holds no safetensors weights (model.safetensors or its index and shards)"


def model_facts(path: Path) -> ModelFacts:
    """The facts of the model in ``path``. Raises AlpacaError when config.json is missing or lacks a size.

    Weights may be missing (then ``stored_parameters`` and ``weight_bytes`` are 0), so that a plan can be
    made from a config alone.
    """
    config = read_config(path)
    heads = _size(config, path, "num_attention_heads")
    hidden = _size(config, path, "hidden_size")
    shape = {
        "vocab": _size(config, path, "vocab_size"),
        "hidden": hidden,
        "intermediate": _size(config, path, "intermediate_size"),
        "layers": _size(config, path, "num_hidden_layers"),
        "heads": heads,
        "kv_heads": int(config.get("num_key_value_heads") or heads),
        "head_dim": int(config.get("head_dim") or hidden // heads),
    }
    tied = bool(config.get("tie_word_embeddings", False))
    generation = read_json(path / "generation_config.json") if (path / "generation_config.json").is_file() else {}
    try:
        tensors = weights(path)
    except AlpacaError:
        tensors = {}
    eos_ids = tuple(dict.fromkeys([*_ids(generation.get("eos_token_id")), *_ids(config.get("eos_token_id"))]))
    return ModelFacts(
        architecture=architecture(config),
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        layers=shape["layers"],
        heads=heads,
        kv_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        vocab_size=shape["vocab"],
        context_length=_context_length(config),
        tied_embeddings=tied,
        parameters=parameter_count(**shape, tied=tied),
        stored_parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()),
        weight_bytes=sum(tensor.end - tensor.start for tensor in tensors.values()),
        dtype=_dtype(config, tensors.values()),
        bos_id=next(iter(_ids(config.get("bos_token_id"))), None),
        eos_ids=eos_ids,
        pad_id=next(iter(_ids(config.get("pad_token_id"))), None),
        notes=tuple(_notes(path, config, eos_ids)),
    )


def check(path: Path) -> ModelFacts:
    """Verifies that ``path`` holds a causal language model that can be loaded, and returns its facts.

    Raises AlpacaError with the first fault found: no or a foreign config, no tokenizer, no or torn
    safetensors, embeddings that do not fit the config, special ids outside the vocabulary.
    """
    if not path.is_dir():
        raise AlpacaError(f"the model directory {path} does not exist")
    config = read_config(path)
    if not architecture(config).endswith("ForCausalLM"):
        raise AlpacaError(
            f"{path} holds a {architecture(config) or 'model of unnamed architecture'}, "
            "not a causal language model (…ForCausalLM)"
        )
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise AlpacaError(
            f"the model directory {path} has no tokenizer: copy tokenizer.json (or tokenizer.model) and "
            "tokenizer_config.json there from where the weights came from"
        )
    tensors = weights(path)
    facts = model_facts(path)
    for name, tensor in tensors.items():
        if name.endswith("embed_tokens.weight") and tensor.shape != (facts.vocab_size, facts.hidden_size):
            raise AlpacaError(
                f"{path} does not fit together: {name} has the shape {list(tensor.shape)}, its config says "
                f"[{facts.vocab_size}, {facts.hidden_size}]"
            )
    for source in ("config.json", "generation_config.json"):
        if (path / source).is_file():
            _check_ids(path / source, facts.vocab_size)
    return facts


def read_config(path: Path) -> dict[str, Any]:
    """The model's config.json. Raises AlpacaError when ``path`` has none."""
    if not (path / "config.json").is_file():
        raise AlpacaError(f"{path} is not a model directory: it has no config.json")
    return read_json(path / "config.json")


def architecture(config: Mapping[str, Any]) -> str:
    """The first class that the config names, such as ``LlamaForCausalLM``; empty where it names none."""
    names = config.get("architectures") or [""]
    return str(names[0])


def _size(config: Mapping[str, Any], path: Path, name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AlpacaError(f"{path / 'config.json'} gives no usable {name} ({value!r}): it is not a LLaMA-like model")
    return value


def _ids(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]


def _context_length(config: Mapping[str, Any]) -> int:
    """Tokens that the model attends to; a sliding window bounds it, for within the window attention is whole."""
    length = int(config.get("max_position_embeddings") or 2048)
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return min(length, int(window)) if window else length


def _dtype(config: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """The stored type of most bytes, in torch's words; the config's word where there are no weights."""
    names = {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "I8": "int8",
        "U8": "uint8",
    }
    by_type: dict[str, int] = {}
    for tensor in tensors:
        by_type[tensor.dtype] = by_type.get(tensor.dtype, 0) + tensor.end - tensor.start
    if by_type:
        most = max(by_type, key=lambda name: by_type[name])
        return names.get(most, most.lower())
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _check_ids(source: Path, vocab_size: int) -> None:
    values = read_json(source)
    for field in _ID_FIELDS:
        for value in _ids(values.get(field)):
            if not 0 <= value < vocab_size:
                raise AlpacaError(
                    f"{source}: {field} is {value}, outside the vocabulary of {vocab_size} tokens (0 to "
                    f"{vocab_size - 1}); set it to the tokenizer's id or remove it"
                )


def _notes(path: Path, config: Mapping[str, Any], eos_ids: tuple[int, ...]) -> Iterable[str]:
    """Old LLaMA conversions name ids that their own tokenizer does not use (bos 0, eos 1 instead of 1 and 2)."""
    if not eos_ids:
        yield "no end-of-sequence id is named: completions end at their stop strings or their length only"
    try:
        word = read_json(path / "tokenizer_config.json").get("eos_token")
        added = read_json(path / "tokenizer.json").get("added_tokens") or []
    except AlpacaError:
        return
    word = word.get("content") if isinstance(word, dict) else word
    ids = {entry["content"]: entry["id"] for entry in added if isinstance(entry, dict) and "content" in entry}
    if word in ids and eos_ids and ids[word] not in eos_ids:
        yield (
            f"the tokenizer's end-of-sequence token {word} has id {ids[word]}, the config says "
            f"{', '.join(map(str, eos_ids))}: both end a completion"
        )
