"""``review``: the decision journal for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

STATES = ("pending", "accepted", "rejected", "filtered")
Ids = Annotated[
    list[str], typer.Argument(metavar="ID…|status:STATE", help="Sample ids, or a query such as status:pending.")
]


@app.command("list")
def list_samples(
    ctx: typer.Context,
    query: Annotated[
        str, typer.Argument(help="status:pending, status:accepted, status:rejected, status:filtered, all")
    ] = "status:pending",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """Print samples, oldest first."""
    from alpaca_tui.store import samples

    rows = samples.page(common.open_db(ctx), _state(query), limit=limit)
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
        }
        for r in rows
    ]
    text = "\n".join(f"{r.id:>6}  {r.state:<9} {_one_line(r.instruction)}" for r in rows)
    common.emit(ctx, {"samples": value}, text or f"no sample matches {query}")


def _one_line(text: str) -> str:
    from alpaca_tui.core.text import clean_text

    line = " ".join(clean_text(text).split())
    return line if len(line) <= 100 else line[:99] + "…"


def _state(query: str) -> str | None:
    if query == "all":
        return None
    name, _, state = query.partition(":")
    if name != "status" or state not in STATES:
        raise UsageError(f"cannot read the query {query!r}; use status:{'|'.join(STATES)} or all")
    return state


def _ids(db: Any, arguments: list[str]) -> list[int]:
    from alpaca_tui.store import samples

    ids: list[int] = []
    for argument in arguments:
        if argument.isdecimal():
            ids.append(int(argument))
        else:
            ids += samples.ids(db, _state(argument))
    return ids


@app.command()
def accept(ctx: typer.Context, ids: Ids) -> None:
    """Accept samples, in one step that one undo takes back."""
    _decide(ctx, "accept", ids, None)


@app.command()
def reject(ctx: typer.Context, ids: Ids, reason: Annotated[str | None, typer.Option(help="Why.")] = None) -> None:
    """Reject samples, in one step that one undo takes back."""
    _decide(ctx, "reject", ids, reason)


@app.command()
def rescue(ctx: typer.Context, ids: Ids) -> None:
    """Bring samples that a rule filtered out back for review."""
    _decide(ctx, "rescue", ids, None)


def _decide(ctx: typer.Context, action: str, arguments: list[str], reason: str | None) -> None:
    from alpaca_tui.store import decisions

    db = common.open_db(ctx)
    made = decisions.decide(db, action, _ids(db, arguments), reason)
    _report(ctx, made, {"accept": "accepted", "reject": "rejected", "rescue": "rescued"}[action])


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
    _report(ctx, made, f"candidate {row.candidate_id} is {kind} now; left the queue until new instances are made")


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


def _report(ctx: typer.Context, made: list[Any], word: str) -> None:
    value = {"decisions": [{"id": d.id, "sample": d.sample_id, "action": d.action} for d in made]}
    names = ", ".join(str(d.sample_id) for d in made[:20]) + (" …" if len(made) > 20 else "")
    common.emit(ctx, value, f"{word}: {len(made)} ({names})" if made else f"{word}: nothing to do")
