"""``dataset``: freeze, list, export."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import AlpacaError

if TYPE_CHECKING:
    from alpaca_tui.core import exchange

app = typer.Typer(no_args_is_help=True)


class Format(StrEnum):
    """The shapes that a data set can be exported in."""

    alpaca = "alpaca"
    jsonl = "jsonl"
    chat = "chat"
    parquet = "parquet"


class Split(StrEnum):
    """The parts of a data set."""

    train = "train"
    held_out = "held_out"


@app.command()
def freeze(
    ctx: typer.Context,
    name: str,
    held_out: Annotated[float, typer.Option(help="The share of instructions held out for evaluation.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws the split.")] = 0,
    query: Annotated[
        str | None, typer.Option(help="Only those that the query finds, such as 'tag:math -doubtful:yes'.")
    ] = None,
) -> None:
    """Fix all accepted samples as a data set that never changes."""
    from alpaca_tui.core.query import parse
    from alpaca_tui.store import datasets

    asked = parse(query) if query is not None else None
    row = datasets.freeze(common.open_db(ctx), name, held_out=held_out, seed=seed, query=asked)
    value = {"name": row.name, "content_hash": row.content_hash, **row.card}
    common.emit(
        ctx,
        value,
        f"data set {row.name}: {row.card['train']} for training, {row.card['held_out']} held out, "
        f"sha256 {row.content_hash[:16]}…",
    )


@app.command("list")
def list_datasets(ctx: typer.Context) -> None:
    """Every frozen data set."""
    from alpaca_tui.store import datasets

    rows = datasets.all_datasets(common.open_db(ctx))
    value = {"datasets": [{"name": r.name, "content_hash": r.content_hash, **r.card} for r in rows]}
    text = "\n".join(
        f"{r.name:<20} {r.card['train']:>6} + {r.card['held_out']:<5} {r.content_hash[:16]}…" for r in rows
    )
    common.emit(ctx, value, text or "none yet; freeze one with: alpaca-tui dataset freeze NAME")


@app.command()
def export(
    ctx: typer.Context,
    name: str,
    file: Path,
    format: Annotated[
        Format,
        typer.Option(
            help="alpaca: one JSON list; jsonl: one object a line, with the split; chat: messages; "
            "parquet: columns, with the split (needs the extra alpaca-tui[parquet])."
        ),
    ] = Format.alpaca,
    split: Annotated[Split | None, typer.Option(help="One part only; default: both.")] = None,
) -> None:
    """Write a data set to a file, whole or not at all."""
    from alpaca_tui.store import datasets

    db = common.open_db(ctx)
    row = datasets.get(db, name)
    examples = datasets.examples(db, row.id, split)
    records = [(e.split, e.instruction, e.input, e.output) for e in examples]
    data = _dump(format, records)
    temporary = file.with_name(file.name + ".part")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AlpacaError(f"cannot write {file}: {error.strerror}") from error
    common.emit(ctx, {"file": str(file), "examples": len(examples)}, f"{len(examples)} examples in {file}")


def _dump(format: Format, records: Sequence[exchange.Record]) -> bytes:
    """The file's bytes. Raises AlpacaError where the format needs what is not installed."""
    from alpaca_tui.core import exchange

    if format is Format.parquet:
        from alpaca_tui.core.parquet import dump_parquet

        return dump_parquet(records)
    dump = {Format.alpaca: exchange.dump_alpaca, Format.jsonl: exchange.dump_jsonl, Format.chat: exchange.dump_chat}
    return dump[format](records).encode("utf-8")


@app.command("import")
def import_file(
    ctx: typer.Context,
    file: Path,
    name: Annotated[str | None, typer.Option(help="The data set's name (default: the file's).")] = None,
    held_out: Annotated[float, typer.Option(help="The share held out, where the file names no split.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws the split.")] = 0,
) -> None:
    """Take a file (Alpaca's JSON, or JSON lines) as a frozen data set, all of it or nothing."""
    from alpaca_tui.core import exchange
    from alpaca_tui.store import datasets

    db = common.open_db(ctx, create=True)
    try:
        records, problems = exchange.load(file.read_bytes())
    except OSError as error:
        raise AlpacaError(f"cannot read {file}: {error.strerror}") from error
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or not records:
        for problem in errors[:20]:
            common.narrate(f"{file}: line {problem.line}: {problem.detail}")
        raise AlpacaError(f"{file} was not imported: {len(errors)} faulty records of {len(records) + len(errors)}")
    row = datasets.take(db, name or file.stem, records, held_out=held_out, seed=seed, source=file.name)
    common.emit(
        ctx,
        {"name": row.name, "content_hash": row.content_hash, **row.card},
        f"data set {row.name}: {row.card['train']} for training, {row.card['held_out']} held out",
    )
