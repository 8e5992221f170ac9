"""Real servers for the tests: ``transformers serve`` on loopback, and a proxy before it that goes wrong on purpose."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(model: Path, log: Path, port: int | None = None) -> Iterator[int]:
    """``transformers serve MODEL`` on a free port of 127.0.0.1; the port. The model's name is its path."""
    port = port or free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        deadline = time.monotonic() + 120
        while not healthy(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.wait()


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Proxy:
    """Passes requests on, save for faults: the next of ``script``, else what ``choose()`` says; None is no fault.

    The fault "logprobs" is a gift: the first piece of text says how likely Yes and No were, as a server that tells
    log-probabilities would (``transformers serve`` does not). "halves" sends a character in two halves, a chunk each.

    Counts: ``delivered`` holds the bodies whose answers went out whole, ``seen`` every request's.
    """

    FAULTS = ("429", "429-date", "429-bare", "500", "hang", "cut", "malformed", "empty", "slow")

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.script: list[str | None] = []
        self.choose: Callable[[], str | None] = lambda: None
        self.seen: list[dict[str, Any]] = []
        self.delivered: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.key: str | None = None
        self.context: int | None = None
        """What the list of models calls every model's context, as vLLM's does (``transformers serve`` tells none)."""
        self.looked_up: list[str] = []
        self.arrived: list[float] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                with proxy._lock:
                    proxy.looked_up.append(self.path)
                if not self.admitted():
                    return
                connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
                connection.request("GET", self.path)
                response = connection.getresponse()
                if proxy.context is None:
                    self.whole(response)
                    return
                listed = json.loads(response.read())
                listed["data"] = [entry | {"max_model_len": proxy.context} for entry in listed["data"]]
                self.reply(200, listed)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with proxy._lock:
                    proxy.seen.append(json.loads(body))
                    proxy.headers.append(dict(self.headers))
                    proxy.arrived.append(time.monotonic())
                    fault = proxy.script.pop(0) if proxy.script else proxy.choose()
                    proxy.in_flight += 1
                    proxy.most_in_flight = max(proxy.most_in_flight, proxy.in_flight)
                try:
                    self.answer(body, fault)
                except OSError:
                    self.close_connection = True  # the client has left
                finally:
                    with proxy._lock:
                        proxy.in_flight -= 1

            def answer(self, body: bytes, fault: str | None) -> None:
                if not self.admitted():
                    return
                if fault == "quota":
                    self.reply(429, {"error": {"message": "You exceeded it", "code": "insufficient_quota"}})
                elif fault is not None and fault.startswith("429"):
                    past = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
                    headers = {"429": {"Retry-After": "1"}, "429-date": past}.get(fault, {})
                    self.reply(429, {"error": {"message": "Rate limit reached", "code": "rate_limit"}}, headers)
                elif fault is not None and fault.isdecimal():
                    self.reply(int(fault), {"error": {"message": f"made to fail with {fault}"}})
                elif fault == "too-long":
                    said = "This model's maximum context length is 8 tokens"
                    self.reply(400, {"error": {"message": said, "code": "context_length_exceeded"}})
                elif fault == "no-stream-options":
                    self.reply(422, {"detail": "Unexpected fields in the request: {'stream_options'}"})
                elif fault == "hang":
                    time.sleep(3.0)
                    self.close_connection = True
                else:
                    self.forward(body, fault)

            def admitted(self) -> bool:
                """Whether the request carries the key that is asked for; refused where not."""
                if proxy.key is None or self.headers.get("Authorization") == f"Bearer {proxy.key}":
                    return True
                said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
                self.reply(401, {"error": {"message": said, "code": "invalid_api_key"}})
                return False

            def reply(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
                text = json.dumps(value).encode()
                self.send_response(status)
                for name, item in ({"Content-Type": "application/json"} | (headers or {})).items():
                    self.send_header(name, item)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def whole(self, response: http.client.HTTPResponse) -> None:
                text = response.read()
                self.send_response(response.status)
                self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def forward(self, body: bytes, fault: str | None) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=120)
                try:
                    connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                except OSError:
                    self.close_connection = True
                    return
                if response.status != 200:
                    self.whole(response)
                    return
                if fault == "slow":
                    time.sleep(1.0)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                if fault == "malformed":
                    self.wfile.write(b'data: {"choices": [{"ind\n\n')
                    return
                halves = iter(("\ud83d", "\ude00"))
                for number, line in enumerate(response):
                    if fault == "halves" and line.startswith(b"data: {"):
                        line = with_text(line, next(halves, ""))
                    if fault == "empty" and line.startswith(b"data: {"):
                        value = json.loads(line[6:]) | {"choices": []}
                        line = b"data: " + json.dumps(value).encode() + b"\n"
                    if fault == "logprobs" and line.startswith(b"data: {"):
                        line, fault = with_logprobs(line), None
                    if fault == "cut" and number >= 4:
                        return
                    self.wfile.write(line)
                    self.wfile.flush()
                if fault in (None, "slow", "halves"):
                    with proxy._lock:
                        proxy.delivered.append(json.loads(body))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


LOGPROBS = {" No": -0.5, "yes": -1.5, " Yes": -2.0, " The": -4.0}
"""What a server with log-probabilities says of the first token."""


def with_logprobs(line: bytes) -> bytes:
    """A chunk of a stream, chat or legacy, that tells ``LOGPROBS``."""
    value = json.loads(line[6:])
    for choice in value["choices"]:
        if "delta" in choice:
            tops = [{"token": token, "logprob": value, "bytes": None} for token, value in LOGPROBS.items()]
            choice["logprobs"] = {"content": [{"token": " No", "logprob": -0.5, "bytes": None, "top_logprobs": tops}]}
        else:
            choice["logprobs"] = {"top_logprobs": [LOGPROBS], "tokens": [" No"], "token_logprobs": [-0.5]}
    return b"data: " + json.dumps(value).encode() + b"\n"


def with_text(line: bytes, text: str) -> bytes:
    """A chunk of a legacy stream with ``text`` in place of its own."""
    value = json.loads(line[6:])
    for choice in value["choices"]:
        choice["text"] = text
    return b"data: " + json.dumps(value).encode() + b"\n"


def by_chance(seed: int, share: float, faults: tuple[str, ...]) -> Callable[[], str | None]:
    """A fault of these for so large a share of the requests, the same ones for the same seed."""
    rng = random.Random(seed)
    return lambda: rng.choice(faults) if rng.random() < share else None
