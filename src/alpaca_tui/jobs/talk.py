"""Talking to a model that lives in a process of its own: the other end of ``alpaca_tui.workers.chat``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.text import one_line

LEAVE_S = 5.0
"""How long the process may take to go when its input ends."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; ``finish_reason`` 'stopped' says that it was cut short on request."""

    text: str
    finish_reason: str
    tokens: int
    seconds: float


class Talk:
    """A loaded model; a context manager that ends its process."""

    def __init__(self, model: str, project: Path | None) -> None:
        """Start the process and wait until the model is loaded. Raises AlpacaError where it cannot be."""
        command = [sys.executable, "-m", "alpaca_tui.workers.chat", "--model", model]
        if project is not None:
            command += ["--project", str(project)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # A session of its own: Ctrl-C in the terminal is for this side, which then asks for a stop.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={"GOMP_SPINCOUNT": "2000", "TOKENIZERS_PARALLELISM": "false", "PYTHONSAFEPATH": "1", **os.environ},
        )
        self._count = 0
        try:
            first = self._receive()
        except BaseException:
            self.close()
            raise
        if "fatal" in first:
            self.close()
            raise AlpacaError(first["fatal"])
        self.name: str = first["ready"]

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        prompt: str,
        on_text: Callable[[str], None],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
    ) -> Reply:
        """Have the prompt answered; ``on_text`` gets the answer so far.

        Raises UsageError where the model can't take the request, AlpacaError where it fails or its process has died.
        """
        self._count += 1
        self._send(
            {
                "id": self._count,
                "prompt": prompt,
                "temperature": temperature,
                "top_p": top_p,
                "max_new_tokens": max_new_tokens,
                "seed": seed,
            }
        )
        while True:
            message = self._receive()
            if "error" in message:
                raise (UsageError if message["usage"] else AlpacaError)(message["error"])
            if "done" in message:
                return Reply(**message["done"])
            on_text(message["text"])

    @property
    def alive(self) -> bool:
        """Whether the model's process can be asked again."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the answer that is being given; ``ask`` then returns what there is. A signal handler may call this."""
        self._send({"stop": self._count})

    def close(self) -> None:
        """End the process; kill it where it does not go."""
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        message: dict[str, Any] = json.loads(line)
        return message

    def _died(self) -> AlpacaError:
        code = self._process.wait()
        self._errors.seek(0)
        said = [one_line(line) for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        why = f"killed by signal {-code}, for want of memory perhaps" if code < 0 else f"it ended with code {code}"
        return AlpacaError(f"the model's process has died: {said[-1] if said and code >= 0 else why}")
