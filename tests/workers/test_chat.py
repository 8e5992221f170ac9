"""Talking to a model in a process of its own: text on the way, stops, clear errors, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import psutil
import pytest

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.jobs.talk import Talk

HOW = {"temperature": 0.0, "top_p": 1.0, "seed": 0}


def command() -> str:
    return str(Path(sys.executable).with_name("alpaca-tui"))


def pipe(model: Path, tmp_path: Path, lines: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The command with its input from a pipe, in a place without a project."""
    arguments = [command(), "--project", str(tmp_path / "none"), "chat", "--model", str(model), *options]
    return subprocess.run(arguments, input=lines, capture_output=True, text=True, timeout=120, check=False)


def test_a_talk_streams_stops_and_survives_a_request_that_cannot_be(tiny_llama_dir: Path) -> None:
    with Talk(str(tiny_llama_dir), None) as talk:
        texts: list[str] = []

        def stop_at_once(text: str) -> None:
            texts.append(text)
            talk.stop()

        stopped = talk.ask("Count:", stop_at_once, max_new_tokens=490, **HOW)
        assert stopped.finish_reason == "stopped" and stopped.tokens < 490
        assert texts and stopped.text.startswith(texts[0])
        whole = talk.ask("Count:", lambda text: None, max_new_tokens=8, **HOW)
        assert (whole.finish_reason, whole.tokens) == ("length", 8)
        assert talk.ask("Count:", lambda text: None, max_new_tokens=8, **HOW).text == whole.text
        with pytest.raises(UsageError, match="shorten the prompt"):
            talk.ask("word " * 600, lambda text: None, max_new_tokens=8, **HOW)
        process = psutil.Process(talk._process.pid)
    assert not process.is_running()


def test_a_model_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlpacaError, match="does not exist"):
        Talk(str(tmp_path / "no/model"), None)


def test_a_model_whose_process_dies_is_one_sentence(tiny_llama_dir: Path) -> None:
    with Talk(str(tiny_llama_dir), None) as talk:
        os.kill(talk._process.pid, signal.SIGKILL)
        with pytest.raises(AlpacaError, match="the model's process has died: killed by signal 9"):
            talk.ask("Count:", lambda text: None, max_new_tokens=8, **HOW)


def test_a_line_in_is_a_line_out(tiny_llama_dir: Path, tmp_path: Path) -> None:
    lines = 'Name a fruit.\n\n{"instruction": "Sum up.", "input": "A long story."}\n'
    done = pipe(tiny_llama_dir, tmp_path, lines, "--max-new-tokens", "6")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 and done.stderr == ""

    # As JSON, with what was said sent along, and a line that is too long: it fails alone.
    lines = f"Name a fruit.\n{'word ' * 700}\nName a fish.\n"
    as_json = pipe(tiny_llama_dir, tmp_path, lines, "--max-new-tokens", "6", "--json", "--show-prompt", "--turns")
    assert as_json.returncode == 1 and "1 instructions could not be answered" in as_json.stderr
    first, failed, last = (json.loads(line) for line in as_json.stdout.splitlines())
    assert (first["instruction"], first["input"], first["tokens"]) == ("Name a fruit.", "", 6)
    assert "shorten the prompt" in failed["error"] and failed["output"] == ""
    assert last["prompt"].startswith(first["prompt"]) and "Name a fish." in last["prompt"]
    escaped = first["output"].replace("\\", "\\\\").replace("\n", "\\n")
    assert done.stdout.splitlines()[0].strip() == escaped.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "there is no project here to take a tuned model from"),
        (("--model", "job:1"), 2, "there is no project here to take a tuned model from"),
        (("--model", "/no/such/model"), 2, "/no/such/model does not exist"),
        (("--temperature", "9"), 2, "temperature"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = subprocess.run(
        [command(), "--project", str(tmp_path), "chat", *arguments],
        input="", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_conversation_in_a_terminal(tiny_llama_dir: Path, tmp_path: Path) -> None:
    arguments = ["--project", str(tmp_path / "none"), "chat", "--model", str(tiny_llama_dir), "--max-new-tokens", "400"]
    talk = pexpect.spawn(command(), arguments, encoding="utf-8", timeout=60, dimensions=(24, 80))
    talk.expect("is ready")
    talk.expect("tuned on single turns")
    talk.expect("\n> ")
    talk.sendline("/temperature much")
    talk.expect("must be a number from 0 to 2")
    talk.sendline("/seed 7")
    talk.expect("The seed is 7")
    talk.sendline("/prompt")
    talk.expect("Prompts are shown")
    talk.sendline("/input A long story.")
    talk.expect("gets this input")
    talk.sendline("Sum up \x1b]0;title\x07 this.")
    talk.expect("--- prompt")
    talk.expect("A long story.")
    talk.expect("---")
    time.sleep(0.3)  # the answer has begun, or is about to
    talk.sendintr()
    talk.expect(r"\[\d+ tokens.*\] \(stopped\)")
    talk.expect("\n> ")
    talk.sendline("/nonsense")
    talk.expect("there is no command /nonsense")
    children = psutil.Process(talk.pid).children()
    talk.sendeof()
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus == 0
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)
