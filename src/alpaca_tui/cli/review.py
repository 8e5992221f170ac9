"""``review``: the decision journal for scripts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.query import SAMPLES, parse

app = typer.Typer(no_args_is_help=True)

QUERY_HELP = (
    "Sample ids, or a query in quotation marks, such as 'status:pending rouge>0.6 -tag:math words'; its fields: "
    + ", ".join(SAMPLES)
)
Ids = Annotated[list[str], typer.Argument(metavar="ID…|QUERY", help=QUERY_HELP)]


class Sort(StrEnum):
    """The orders in which samples are listed."""

    oldest = "oldest"
    newest = "newest"
    nearest = "nearest"
    longest = "longest"
    random = "random"


@app.command("list")
def list_samples(
    ctx: typer.Context,
    query: Annotated[list[str] | None, typer.Argument(metavar="QUERY", help=QUERY_HELP + "; all: every sample")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    sort: Annotated[Sort, typer.Option(help="nearest: to a rule's threshold; random: for an audit.")] = Sort.oldest,
) -> None:
    """Print the samples that a query finds; without one, those that await review."""
    from alpaca_tui.store import browse, finding, samples

    db = common.open_db(ctx)
    asked = " ".join(query) if query else "status:pending"
    found = finding.sample_ids(db, parse(asked), sort.value, limit=limit)
    rows = [row for row in (samples.get(db, sample_id) for sample_id in found) if row is not None]
    tags = browse.tags_of(db, found)
    value = [
        {
            "id": r.id,
            "state": r.state,
            "instruction": r.instruction,
            "input": r.input,
            "output": r.output,
            "rejected_by": r.rejected_by,
            "is_classification": r.is_classification,
            "classification_margin": r.classification_margin,
            "low_margin": r.low_margin,
            "tags": tags.get(r.id, []),
        }
        for r in rows
    ]
    text = "\n".join(f"{r.id:>6}  {r.state:<9} {_one_line(r.instruction)}" for r in rows)
    common.emit(ctx, {"samples": value}, text or f"no sample matches {asked}")


def _one_line(text: str) -> str:
    from alpaca_tui.core.text import clean_text

    line = " ".join(clean_text(text).split())
    return line if len(line) <= 100 else line[:99] + "…"


def _ids(db: Any, arguments: list[str]) -> list[int]:
    """The samples named by number, and those that the other words find as one query."""
    from alpaca_tui.store import finding

    numbers = [int(argument) for argument in arguments if argument.isdecimal()]
    words = " ".join(argument for argument in arguments if not argument.isdecimal())
    return numbers + (finding.sample_ids(db, parse(words)) if words else [])


@app.command()
def accept(ctx: typer.Context, ids: Ids) -> None:
    """Accept samples, in one step that one undo takes back."""
    _decide(ctx, "accept", ids, None)


@app.command()
def reject(ctx: typer.Context, ids: Ids, reason: Annotated[str | None, typer.Option(help="Why.")] = None) -> None:
    """Reject samples, in one step that one undo takes back."""
    _decide(ctx, "reject", ids, reason)


@app.command()
def rescue(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID…|QUERY", help=QUERY_HELP)] = None,
    instruction: Annotated[
        list[int] | None,
        typer.Option("--instruction", "-i", help="An instruction that a rule rejected, by its number."),
    ] = None,
) -> None:
    """Bring filtered samples back for review, and rejected instructions back to be completed."""
    from alpaca_tui.store import decisions

    if not ids and not instruction:
        raise UsageError("name samples by number or query, or instructions with --instruction NUMBER")
    db = common.open_db(ctx)
    made = decisions.rescue(db, _ids(db, ids or []), instruction or [])
    _report(ctx, made, "rescued")
    if any(one.candidate_id is not None for one in made):
        common.narrate(
            "what an instruction lacks is asked for by the running or the next generation, whatever its target"
        )


@app.command()
def tag(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TAG")],
    ids: Ids,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
) -> None:
    """Give samples a tag, in one step that one undo takes back."""
    from alpaca_tui.store import decisions

    db = common.open_db(ctx)
    _report(ctx, decisions.tag(db, _ids(db, ids), name, take=remove), "untagged" if remove else "tagged")


def _decide(ctx: typer.Context, action: str, arguments: list[str], reason: str | None) -> None:
    from alpaca_tui.store import decisions

    db = common.open_db(ctx)
    made = decisions.decide(db, action, _ids(db, arguments), reason)
    _report(ctx, made, {"accept": "accepted", "reject": "rejected"}[action])


@app.command()
def flip(
    ctx: typer.Context, sample: Annotated[int, typer.Argument(metavar="ID", help="A sample of the instruction.")]
) -> None:
    """Say that a sample's instruction is classification after all, or that it is none; its instances are made anew."""
    from alpaca_tui.store import decisions, samples

    db = common.open_db(ctx)
    row = samples.get(db, sample)
    if row is None:
        raise UsageError(f"there is no sample {sample}; list them with: alpaca-tui review list all")
    made = decisions.flip_classification(db, row.candidate_id)
    kind = "no classification task" if row.is_classification else "a classification task"
    left = sum(decision.to_state != decision.from_state for decision in made)
    text = f"instruction {row.candidate_id} is {kind} now; samples that left the queue: {left}; new ones are made by "
    common.emit(ctx, _value(made), text + "the running or the next generation (alpaca-tui review undo takes it back)")


@app.command()
def edit(
    ctx: typer.Context,
    sample: Annotated[int, typer.Argument(metavar="ID")],
    instruction: Annotated[str | None, typer.Option()] = None,
    input: Annotated[str | None, typer.Option()] = None,
    output: Annotated[str | None, typer.Option()] = None,
    output_file: Annotated[Path | None, typer.Option(help="Take the output from a file.")] = None,
) -> None:
    """Give a sample new text; the original stays as a revision."""
    from alpaca_tui.store import decisions, samples

    db = common.open_db(ctx)
    row = samples.get(db, sample)
    if row is None:
        raise UsageError(f"there is no sample {sample}; list them with: alpaca-tui review list all")
    if output_file is not None:
        try:
            output = output_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {output_file}: {error}") from error
    made = decisions.edit(
        db,
        sample,
        row.instruction if instruction is None else instruction,
        row.input if input is None else input,
        row.output if output is None else output,
    )
    _report(ctx, [made] if made else [], "edited")


@app.command()
def undo(ctx: typer.Context) -> None:
    """Take back the latest decision."""
    from alpaca_tui.store import decisions

    _report(ctx, decisions.undo(common.open_db(ctx)), "undone")


@app.command()
def redo(ctx: typer.Context) -> None:
    """Make the decision undone last again."""
    from alpaca_tui.store import decisions

    _report(ctx, decisions.redo(common.open_db(ctx)), "redone")


def _value(made: list[Any]) -> dict[str, Any]:
    return {
        "decisions": [
            {"id": d.id, "sample": d.sample_id, "candidate": d.candidate_id, "action": d.action} for d in made
        ]
    }


def _report(ctx: typer.Context, made: list[Any], word: str) -> None:
    names = ", ".join(d.subject.lstrip("#") for d in made[:20]) + (" …" if len(made) > 20 else "")
    common.emit(ctx, _value(made), f"{word}: {len(made)} ({names})" if made else f"{word}: nothing to do")
