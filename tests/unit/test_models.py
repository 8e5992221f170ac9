"""What a model SPEC means, and what is said about a model directory that cannot be used."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs import models
from alpaca_tui.jobs.modelfacts import parameter_count, read_header

SIZES = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2}


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(at))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that looks like a small LLaMA's, two shards and an index."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], **SIZES, "bos_token_id": 1, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "a.safetensors", {"model.embed_tokens.weight": (8, 4)})
    write_safetensors(folder / "b.safetensors", {"lm_head.weight": (8, 4), "model.norm.weight": (4,)})
    places = {
        "model.embed_tokens.weight": "a.safetensors",
        "lm_head.weight": "b.safetensors",
        "model.norm.weight": "b.safetensors",
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda m: (m / "config.json").unlink(), "is not a model directory: it has no config.json"),
    (lambda m: (m / "config.json").write_text("{"), "is not valid JSON"),
    (lambda m: change(m / "config.json", architectures=["BertModel"]), "holds a BertModel, not a causal"),
    (lambda m: change(m / "config.json", hidden_size=None), r"gives no usable hidden_size \(None\)"),
    (lambda m: (m / "tokenizer.json").unlink(), "has no tokenizer: copy tokenizer.json"),
    (lambda m: (m / "b.safetensors").unlink(), "lacks the weights file b.safetensors"),
    (lambda m: cut(m / "b.safetensors", 1), "b.safetensors is damaged or was not downloaded completely"),
    (lambda m: (m / "a.safetensors").write_bytes(b"\xff" * 9), "a.safetensors is damaged"),
    (lambda m: write_safetensors(m / "b.safetensors", {"lm_head.weight": (8, 4)}), "lacks 1 tensors .* model.norm"),
    (lambda m: write_safetensors(m / "a.safetensors", {"model.embed_tokens.weight": (9, 4)}), r"\[9, 4\].*\[8, 4\]"),
    (lambda m: change(m / "config.json", pad_token_id=-1), "pad_token_id is -1, outside the vocabulary of 8"),
    (lambda m: (m / "generation_config.json").write_text('{"eos_token_id": [2, 8]}'), "eos_token_id is 8, outside"),
]


@pytest.mark.parametrize(("break_it", "sentence"), FAULTS)
def test_each_fault_is_one_clear_sentence(model: Path, break_it: Callable[[Path], object], sentence: str) -> None:
    models.check(model)
    break_it(model)
    with pytest.raises(AlpacaError, match=sentence) as raised:
        models.check(model)
    assert "\n" not in str(raised.value)
    assert str(model) in str(raised.value)


def test_pickled_weights_are_refused_with_the_way_out(model: Path) -> None:
    for path in model.glob("*.safetensors*"):
        path.unlink()
    with pytest.raises(AlpacaError, match="holds no safetensors weights"):
        models.check(model)
    (model / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(AlpacaError, match=r"pickled \.bin files only.*save_pretrained"):
        models.check(model)


def test_facts_are_read_from_the_files(model: Path) -> None:
    (model / "generation_config.json").write_text('{"eos_token_id": [3, 2]}')
    facts = models.check(model)
    assert (facts.architecture, facts.layers, facts.vocab_size) == ("LlamaForCausalLM", 1, 8)
    assert facts.stored_parameters == 8 * 4 * 2 + 4
    assert facts.weight_bytes == 2 * facts.stored_parameters
    assert facts.dtype == "float16"
    assert (facts.bos_id, facts.eos_ids, facts.pad_id) == (1, (3, 2), None)


def test_ids_that_the_tokenizer_does_not_share_are_noted(model: Path) -> None:
    """The oldest LLaMA conversions say bos 0 and eos 1, while their tokenizers use 1 and 2."""
    assert models.check(model).notes == ()
    (model / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 2, "content": "</s>"}]}))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    change(model / "config.json", eos_token_id=1)
    assert "</s> has id 2, the config says 1" in models.check(model).notes[0]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((32_000, 4096, 11_008, 32, 32, 32, 128, False), 6_738_415_616),  # LLaMA 7B
        ((32_000, 5120, 13_824, 40, 40, 40, 128, False), 13_015_864_320),  # LLaMA 13B
        ((128_256, 4096, 14_336, 32, 32, 8, 128, False), 8_030_261_248),  # Llama 3 8B: grouped queries
        ((49_152, 576, 1536, 30, 9, 3, 64, True), 134_515_008),  # SmolLM2 135M: tied embeddings
    ],
)
def test_parameter_counts_are_the_published_ones(sizes: tuple[Any, ...], expected: int) -> None:
    names = ("vocab", "hidden", "intermediate", "layers", "heads", "kv_heads", "head_dim", "tied")
    assert parameter_count(**dict(zip(names, sizes, strict=True))) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 32_768, "sliding_window": 4096}, 4096),
        ({"max_position_embeddings": 32_768, "sliding_window": 4096, "use_sliding_window": False}, 32_768),
        ({"max_position_embeddings": 32_768, "sliding_window": None}, 32_768),
    ],
)
def test_the_context_ends_where_attention_does(model: Path, changes: dict[str, Any], expected: int) -> None:
    change(model / "config.json", **changes)
    assert models.model_facts(model).context_length == expected


def test_a_header_that_claims_more_than_the_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(AlpacaError, match="damaged"):
        read_header(path)


def test_the_specs_that_are_understood(model: Path, tmp_path: Path) -> None:
    ref = models.resolve(str(model))
    assert (ref.kind, ref.path, ref.name) == ("directory", model, "model")
    endpoint = models.resolve("openai:gpt-3.5-turbo")
    assert (endpoint.kind, endpoint.name, endpoint.base_url, endpoint.path) == ("openai", "gpt-3.5-turbo", None, None)
    served = models.resolve("openai:org/name@http://localhost:8000/v1/")
    assert (served.name, served.base_url) == ("org/name", "http://localhost:8000/v1")
    here = models.resolve("smollm2-135m", tmp_path, fetch=False)
    assert (here.kind, here.path) == ("embedded", tmp_path / "models" / "smollm2-135m")


@pytest.mark.parametrize("spec", ["llama", "", "openai", "a/b/c", "~/nowhere-at-all", "./nowhere"])
def test_an_unknown_spec_lists_what_is_understood(spec: str) -> None:
    with pytest.raises(UsageError) as raised:
        models.resolve(spec)
    for understood in models.UNDERSTOOD:
        assert understood in str(raised.value)


def test_a_file_is_no_model_directory(model: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        models.resolve(str(model / "config.json"))


@pytest.mark.parametrize("spec", ["openai:", "openai:m@ftp://x", "openai:a b"])
def test_a_malformed_endpoint_shows_the_form(spec: str) -> None:
    with pytest.raises(UsageError, match="write openai:MODEL"):
        models.resolve(spec)


def test_an_adapter_resolves_to_its_base_model(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "tuned"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    ref = models.resolve(str(adapter))
    assert (ref.path, ref.adapter, ref.name) == (model, adapter, "tuned")
    change(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(AlpacaError, match=r"the base model of the adapter in .*tuned was not found"):
        models.resolve(str(adapter))


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALPACA_TUI_CACHE", str(tmp_path))
    assert models.embedded_dir() == tmp_path / "models" / "smollm2-135m"
    monkeypatch.delenv("ALPACA_TUI_CACHE")
    assert models.cache_root().name == "alpaca-tui"


def test_a_hub_model_comes_from_the_local_cache_without_network(model: Path, tmp_path: Path) -> None:
    """In a fresh interpreter, as the hub's cache directory and offline switch are read at import."""
    home = tmp_path / "hub"
    repository = home / "models--some-org--small"
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.parent.mkdir(parents=True)
    model.rename(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    code = (
        "import sys\n"
        "from alpaca_tui.core.errors import AlpacaError\n"
        "from alpaca_tui.jobs.models import resolve\n"
        "ref = resolve('some-org/small')\n"
        "print(ref.kind, ref.name, ref.path)\n"
        "print(resolve('some-org/other', fetch=False).path)\n"
        "try: resolve('some-org/other')\n"
        "except AlpacaError as error: print(error)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    environment = {"HF_HUB_CACHE": str(home), "HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    lines = result.stdout.splitlines()
    assert lines[0] == f"hub small {snapshot}"
    assert lines[1] == "None"
    assert lines[2].startswith("some-org/other is neither a directory here nor in the Hugging Face cache")
    assert lines[3] == "False False"
