"""The chat worker: a model in a process of its own that answers JSON lines, for a front end that must not load torch.

In, a line each: ``{"id", "prompt", "temperature", "top_p", "max_new_tokens", "seed"}`` asks, ``{"stop": id}`` ends
that answer. Out: ``{"ready": name}`` once, then for each id any number of ``{"id", "text"}`` (the whole answer so far)
and one ``{"id", "done": {"text", "finish_reason", "tokens", "seconds"}}`` or
``{"id", "error", "usage"}``. ``{"fatal"}`` is the
last line where the model cannot be had. The end of the input ends the process.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from alpaca_tui.backends.base import Backend
from alpaca_tui.core.errors import AlpacaError, Cancelled, UsageError
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.core.text import one_line
from alpaca_tui.jobs import processes
from alpaca_tui.store.database import open_project
from alpaca_tui.workers.models import open_backend, open_model

END = None


class Inbox:
    """Reads requests in a thread of its own, so that a stop is heard while the model writes."""

    def __init__(self, source: TextIO) -> None:
        self.requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._ended = False
        self._source = source
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._source:
            message = json.loads(line)
            if "stop" in message:
                self._stopped.add(message["stop"])
            else:
                self.requests.put(message)
        self._ended = True
        self.requests.put(END)

    def cancelled(self, request_id: int) -> bool:
        """Whether that answer is not wanted any more."""
        return self._ended or request_id in self._stopped


def answer(backend: Backend, request: dict[str, Any], inbox: Inbox, say: Callable[[dict[str, Any]], None]) -> None:
    """Answer one request, with the text on the way; a stop ends it with what there is."""
    request_id = request["id"]
    params = SamplingParams(request["temperature"], request["top_p"], 0.0, request["max_new_tokens"])
    began, sofar, count = time.monotonic(), "", 0

    def show(_: int, text: str, tokens: int) -> None:
        nonlocal sofar, count
        sofar, count = text, tokens
        say({"id": request_id, "text": text})

    try:
        asked = [Request(request["prompt"], params, request["seed"])]
        made = backend.complete(asked, show, lambda: inbox.cancelled(request_id))[0]
        if made.finish_reason == "error":
            raise AlpacaError(f"{backend.name} failed to answer; try again")
        done = {
            "text": made.text,
            "finish_reason": made.finish_reason,
            "tokens": made.completion_tokens,
            "seconds": made.seconds,
        }
    except Cancelled:
        done = {"text": sofar, "finish_reason": "stopped", "tokens": count, "seconds": time.monotonic() - began}
    except AlpacaError as error:
        say({"id": request_id, "error": str(error), "usage": isinstance(error, UsageError)})
        return
    say({"id": request_id, "done": done})


def main() -> int:
    """Load the model, answer until the input ends; return 0, or 1 where the model cannot be had."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--project", type=Path)
    arguments = parser.parse_args()
    processes.die_with_parent(signal.SIGTERM)
    # Only our own lines may reach the pipe: whatever a library prints goes to stderr.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        if arguments.project is None:
            backend = open_backend(arguments.model, 1)
        else:
            backend = open_model(open_project(arguments.project), arguments.model, 1, arguments.project)
    except Exception as error:
        text = str(error) if isinstance(error, AlpacaError) else f"{type(error).__name__}: {error}"
        say({"fatal": one_line(text)})
        return 1
    inbox = Inbox(sys.stdin)
    say({"ready": backend.name})
    while (request := inbox.requests.get()) is not END:
        answer(backend, request, inbox, say)
    backend.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
