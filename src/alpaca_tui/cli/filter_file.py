"""``filter FILE``: the instruction rules on any JSON list or JSON-lines file, in file order, whole or not at all."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from alpaca_tui.cli.progress import progress
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.instruction_rules import InstructionRule
from alpaca_tui.core.jsonrecords import Problem, read_records
from alpaca_tui.core.records import Neighbour
from alpaca_tui.core.rouge import TokenizerName
from alpaca_tui.core.rules import first_failure
from alpaca_tui.core.sieve import Sieve

if TYPE_CHECKING:
    from alpaca_tui.core.records import Verdict

_BLOCK = 8192
"""Records read, judged and written at a time."""
_BLOCK_BYTES = 64 << 20
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: its line, or its number where the file is a list; its fields; the line as it stands in the file."""

    number: int
    fields: dict[str, Any]
    raw: bytes | None = None


@dataclass(slots=True)
class Source:
    """The records of a file, block by block; what is wrong with it gathers in ``problems``."""

    file: Path
    is_list: bool = False
    size: int = 0
    """Bytes; 0 where it can't be known (a pipe)."""
    done: int = 0
    """Bytes read."""
    problems: list[Problem] = field(default_factory=list)

    def blocks(self) -> Iterator[list[Entry]]:
        """Raises AlpacaError where the file can't be read."""
        try:
            with self.file.open("rb") as stream:
                self.size = os.fstat(stream.fileno()).st_size
                yield from self._read(stream)
        except OSError as error:
            raise AlpacaError(f"cannot read {self.file}: {error.strerror}") from error

    def _read(self, stream: IO[bytes]) -> Iterator[list[Entry]]:
        base = 0
        while lines := _block(stream):
            if base == 0:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                first = next((line.lstrip() for line in lines if line.strip()), b"")
                if first.startswith((b"[", b"\xff\xfe", b"\xfe\xff")):
                    yield from self._list(b"".join(lines) + stream.read())
                    return
            self.done += sum(map(len, lines))
            yield self._lines(lines, base)
            base += len(lines)

    def _list(self, data: bytes) -> Iterator[list[Entry]]:
        self.is_list, self.size = True, len(data)
        records, self.problems = read_records(data)
        entries = [Entry(r.item or 0, r.fields) for r in records if r.fields is not None]
        for start in range(0, len(entries), _BLOCK):
            self.done = len(data) * start // len(entries)
            yield entries[start : start + _BLOCK]

    def _lines(self, lines: list[bytes], base: int) -> list[Entry]:
        readable = []
        for number, line in enumerate(lines, start=base + 1):
            fault = "expected an object { … }, found a list" if line.lstrip()[:1] == b"[" else ""
            fault = "the line holds zero bytes" if b"\0" in line else fault
            if fault:
                self.problems.append(Problem(number, "", "broken-json", fault))
            readable.append(b"\n" if fault else line)
        data = b"".join(readable)
        if not data.strip():
            return []
        records, problems = read_records(data)
        self.problems += [
            Problem(p.line and p.line + base, p.id, p.rule, p.detail) for p in problems if p.severity == "error"
        ]
        return [Entry(r.line + base, r.fields, lines[r.line - 1]) for r in records if r.fields is not None]

    def texts(self, entries: Sequence[Entry], name: str) -> list[tuple[int, str]]:
        """(number, the text of the field) of each record; a record without it is a problem."""
        texts = []
        for entry in entries:
            text = entry.fields.get(name)
            if isinstance(text, str):
                texts.append((entry.number, text))
                continue
            fields = ", ".join(list(entry.fields)[:6]) or "none"
            detail = f"there is no text in a field {name!r}; the fields are {fields}: choose one with --field"
            line = 0 if self.is_list else entry.number
            self.problems.append(Problem(line, "", "no-text", f"item {entry.number}: {detail}" if not line else detail))
        return texts

    def failure(self) -> AlpacaError:
        """What is wrong, in one sentence: the first fault, and the lines of the others."""
        problems = sorted(self.problems, key=lambda p: p.line)
        first = problems[0]
        place = f"line {first.line}: " if first.line else ""
        others = sorted({p.line for p in problems if p.line} - {first.line})
        more = ", ".join(map(str, others[:_NAMED])) + (" …" if others[_NAMED:] else "")
        also = f"; faulty as well: {len(others)} more ({more})" if others else ""
        if not others and len(problems) > 1:
            also = f"; {len(problems)} faults in all"
        return AlpacaError(f"{self.file}: {place}{first.detail}{also}; nothing was written")


def _block(stream: IO[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    for line in islice(stream, _BLOCK):
        lines.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            break
    return lines


class Target:
    """A file that appears whole, by rename, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a plain file; choose another name")
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._stream: IO[bytes] = self._part.open("wb")

    def write(self, data: bytes) -> None:
        """Append."""
        self._stream.write(data)

    def close(self) -> None:
        """All is written, and on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def publish(self) -> None:
        """Now it is there."""
        self._part.replace(self.path)

    def discard(self) -> None:
        """Leave no trace."""
        self._stream.close()
        self._part.unlink(missing_ok=True)


def filter_file(
    file: Path,
    rules: Sequence[InstructionRule],
    tokenizer: TokenizerName,
    name: str,
    output: Path | None,
    rejects: Path | None,
) -> dict[str, Any]:
    """Judge the field ``name`` of every record; return ``{"total", "kept", "rejected": {rule: n}, "seconds"}``.

    Kept records go to ``output`` in the file's own form (lines as they stand, or a list); rejected ones to ``rejects``
    as JSON lines with rule, score, threshold, neighbour and the record. Raises AlpacaError where the file, or one of
    its records, can't be read; then nothing is written.
    """
    began = time.monotonic()
    source = Source(file)
    targets: list[Target] = []
    counts: Counter[str | None] = Counter()
    sieve = Sieve(rules, tokenizer, brief=True)
    try:
        for path in (output, rejects):
            if path is not None:
                targets.append(Target(path))
        kept, thrown = targets[0] if output else None, targets[-1] if rejects else None
        with progress() as show:
            for entries in source.blocks():
                show(_said(source, counts))
                texts = [Neighbour("candidate", *pair) for pair in source.texts(entries, name)]
                if source.problems:
                    continue  # read on, to name every faulty line
                for entry, verdicts in zip(entries, sieve.judge(texts), strict=True):
                    verdict = first_failure(verdicts)
                    counts[verdict.rule if verdict else None] += 1
                    if verdict is None and kept:
                        kept.write(_kept(entry, first=counts[None] == 1))
                    elif verdict is not None and thrown:
                        thrown.write(_rejected(entry, verdict, "item" if source.is_list else "line"))
        if not counts and not source.problems:
            raise AlpacaError(f"{file} holds no record; nothing was written")
        if source.problems:
            raise source.failure()
        if kept and source.is_list:
            kept.write(b"\n]\n" if counts[None] else b"[]\n")
        for target in targets:
            target.close()
        for target in targets:
            target.publish()
    except OSError as error:
        raise AlpacaError(f"cannot write {error.filename or output or rejects}: {error.strerror}") from error
    finally:
        for target in targets:
            target.discard()
    total, passed = counts.total(), counts.pop(None, 0)
    rejected = dict(counts.most_common())
    return {"total": total, "kept": passed, "rejected": rejected, "seconds": round(time.monotonic() - began, 2)}


def _said(source: Source, counts: Counter[str | None]) -> str:
    """Progress; how far the file is read can't be known of a pipe."""
    far = f"{min(1, source.done / source.size):.0%} of the file" if source.size else "reading"
    return f"{far}, {counts.total():,} records judged, {counts[None]:,} kept"


def _kept(entry: Entry, *, first: bool) -> bytes:
    if entry.raw is not None:
        return entry.raw if entry.raw.endswith(b"\n") else entry.raw + b"\n"
    text = textwrap.indent(_dump(entry, entry.fields, indent=4), " " * 4).encode()
    return (b"[\n" if first else b",\n") + text


def _rejected(entry: Entry, verdict: Verdict, place: str) -> bytes:
    near = verdict.neighbour
    value = {
        place: entry.number,
        "rule": verdict.rule,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "neighbour": None if near is None else {place: near.id, "text": near.text},
        "detail": verdict.detail,
        "record": entry.fields,
    }
    return _dump(entry, value).encode() + b"\n"


def _dump(entry: Entry, value: dict[str, Any], indent: int | None = None) -> str:
    """JSON that can always be encoded: only a record with a lone surrogate has every foreign character escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        raise AlpacaError(f"record {entry.number} holds a number too large for JSON; nothing was written") from error
    return text
