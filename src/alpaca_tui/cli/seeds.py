"""``seeds``: list, check, import and export seed tasks."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import AlpacaError, RefusedError

if TYPE_CHECKING:
    from rich.console import Console

    from alpaca_tui.core.jsonrecords import Problem
    from alpaca_tui.core.seedcheck import SeedCheck
    from alpaca_tui.store.seeds import SeedRow, SeedUsage

app = typer.Typer(no_args_is_help=True)


class Tokenizer(StrEnum):
    """How instructions are cut into words for ROUGE-L."""

    rouge = "rouge"
    unicode = "unicode"


@app.command("list")
def list_seeds(
    ctx: typer.Context,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Only seeds with this text in them, in any case.")] = "",
) -> None:
    """Print the project's seeds, how often each was shown to the model, and what came of it."""
    from alpaca_tui.store import seeds

    db = common.open_db(ctx)
    usage = seeds.usage(db)
    rows = [row for row in seeds.all_seeds(db) if search.casefold() in _all_text(row).casefold()]
    value = {"seeds": [_seed_json(row, usage[row.id]) for row in rows]}
    common.emit(ctx, value, lambda console: _print_seeds(console, rows, usage))


def _all_text(row: SeedRow) -> str:
    task = row.task
    return "\n".join(
        [task.task_id, task.name, task.instruction, *(t for i in task.instances for t in (i.input, i.output))]
    )


def _seed_json(row: SeedRow, usage: SeedUsage) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "seed": row.id,
        "id": row.task.task_id,
        "name": row.task.name,
        "instruction": row.task.instruction,
        "instances": [{"input": i.input, "output": i.output} for i in row.task.instances],
        "is_classification": row.task.is_classification,
        "enabled": row.enabled,
        "revision": row.revision,
        "usage": asdict(usage),
    }


def _print_seeds(console: Console, rows: list[SeedRow], usage: dict[int, SeedUsage]) -> None:
    from rich.table import Table

    from alpaca_tui.core.text import one_line

    if not rows:
        console.print("no seed matches")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in ("seed", "", "drawn", "accepted", "rejected"):
        table.add_column(name, justify="right" if name else "left")
    table.add_column("instruction", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        used = usage[row.id]
        marks = ("" if row.enabled else "off ") + ("class" if row.task.is_classification else "")
        counts = [str(n) for n in (used.drawn, used.accepted, used.rejected)]
        style = None if row.enabled else "dim"
        table.add_row(str(row.id), marks.strip(), *counts, one_line(row.task.instruction), style=style)
    console.print(table)
    off = sum(not row.enabled for row in rows)
    console.print(_counted(len(rows), "seed") + (f", {off} of them off" if off else ""))


@app.command()
def check(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The seeds to check; without it the project's, else those shipped."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A second file that the seeds should not overlap with; may be repeated."),
    ] = None,
    threshold: Annotated[float, typer.Option(help="ROUGE-L over which two seeds are too alike.")] = 0.7,
    against_threshold: Annotated[float, typer.Option(help="The same for the second file.")] = 0.6,
    tokenizer: Annotated[Tokenizer, typer.Option(help="unicode: for other scripts than Latin.")] = Tokenizer.rouge,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 where there is any finding.")] = False,
) -> None:
    """Measure seeds: counts, lengths, root verbs, likeness, inputs, labels, banned words, characters.

    Exit code 0: read whole, findings or not. 1: FILE could not be read, or has errors that keep it from being
    imported. 3: --strict and a finding.
    """
    from alpaca_tui.core import seedcheck, seedfile

    data, source = _seeds_to_check(ctx, file)
    references: list[seedfile.Reference] = []
    for path in against or []:
        found, faults = seedfile.parse_references(_read(path))
        _refuse(path, faults, "no comparison was made")
        references += found
    parsed = seedfile.parse_seed_file(data)
    result = seedcheck.check_seeds(
        parsed, references, threshold=threshold, against_threshold=against_threshold, tokenizer=tokenizer.value
    )
    common.emit(ctx, {"file": source, **result.as_json()}, lambda console: _print_check(console, source, result))
    if parsed.errors:
        raise AlpacaError(_errors_in(source, parsed.errors))
    if strict and result.problems:
        raise RefusedError(f"{source}: {_counted(len(result.problems), 'finding')}")


def _seeds_to_check(ctx: typer.Context, file: Path | None) -> tuple[bytes | str, str]:
    from alpaca_tui import resources
    from alpaca_tui.store import database, seeds

    if file is not None:
        return _read(file), str(file)
    project = common.project_dir(ctx)
    if database.database_path(project).is_file():
        return seeds.export(common.open_db(ctx)), f"the seeds of {project}"
    return resources.seed_tasks_path().read_bytes(), "the shipped seeds"


def _print_check(console: Console, source: str, result: SeedCheck) -> None:
    lines = [
        (
            "tasks",
            f"{result.count}: {result.classification} classification, {result.count - result.classification} not",
        ),
        ("with input", f"{result.with_input} tasks, {result.instances} instances in all"),
        ("root verbs", f"{len(result.root_verbs)} different; most frequent: {_top(result.root_verbs)}"),
        ("objects", f"{len(result.root_objects)} different; most frequent: {_top(result.root_objects)}"),
        *((f"words, {name}", _words(result, name)) for name in result.lengths),
        (f"alike > {result.threshold:g}", _counted(len(result.pairs_over_threshold), "pair")),
    ]
    if result.against and result.nearest:
        near = f"the nearest at {result.nearest.score:.2f}: {result.nearest.id} and {result.nearest.other}"
        alike = f"{_counted(len(result.overlap), 'seed')} of {result.count} against {result.against}; {near}"
        lines.append((f"overlap > {result.against_threshold:g}", alike))
    console.print(source)
    for name, text in lines:
        console.print(f"  {name:<18} {text}", soft_wrap=True)
    for problem in result.problems:
        console.print(_problem_line(problem), soft_wrap=True)
    console.print(_counted(len(result.problems), "finding") if result.problems else "nothing found wrong")


def _top(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in list(counts.items())[:6])


def _words(result: SeedCheck, field: str) -> str:
    n = result.lengths[field]
    return f"{n.shortest} to {n.longest}, median {n.median:g}, mean {n.mean:g}" if n.texts else "none"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _problem_line(problem: Problem) -> str:
    place = f"line {problem.line}" if problem.line else "the file"
    name = f" {problem.id}" if problem.id else ""
    return f"{problem.severity:<7} {place}{name}: {problem.detail} [{problem.rule}]"


@app.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Self-Instruct's seed_tasks.jsonl or Alpaca's alpaca_data.json.")],
    update: Annotated[
        bool, typer.Option("--update", help="Known ids with another text: take it as a new revision.")
    ] = False,
) -> None:
    """Add the seeds of a file: all, or none with every reason and its line. The same file twice adds nothing."""
    from alpaca_tui.core import seedfile
    from alpaca_tui.store import seeds

    parsed = seedfile.parse_seed_file(_read(file))
    _refuse(file, parsed.errors, "nothing was imported")
    for finding in parsed.problems:
        common.narrate(_problem_line(finding))
    cleaned = sum(seedfile.clean_task(task) != task for task in parsed.tasks)
    if cleaned:
        common.narrate(f"control characters were taken out of {_counted(cleaned, 'task')}")
    result = seeds.import_tasks(common.open_db(ctx, create=True), parsed.tasks, update=update)
    value = {"file": str(file), "added": result.added, "revised": result.revised, "unchanged": result.unchanged}
    text = f"{_counted(result.added, 'seed')} added, {result.unchanged} known already"
    common.emit(ctx, value, text + (f", {result.revised} revised" if result.revised else ""))


def _refuse(path: Path, errors: tuple[Problem, ...], consequence: str) -> None:
    """Say every error on stderr and raise with the first; nothing where there is none."""
    if not errors:
        return
    for error in errors:
        common.narrate(_problem_line(error))
    raise AlpacaError(f"{_errors_in(str(path), errors)}; {consequence}")


def _errors_in(source: str, errors: tuple[Problem, ...]) -> str:
    first = errors[0]
    place = f"line {first.line}: " if first.line else ""
    more = f" ({_counted(len(errors), 'error')} in all)" if len(errors) > 1 else ""
    return f"{source}: {place}{first.detail}{more}"


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to; - for standard output.")],
    enabled: Annotated[bool, typer.Option("--enabled", help="Only the seeds that may be drawn.")] = False,
    escape: Annotated[
        bool, typer.Option("--escape", help="Write characters beyond ASCII as \\u…, as Self-Instruct's file has them.")
    ] = False,
) -> None:
    """Write the seeds as a file in Self-Instruct's shape, whole or not at all."""
    from alpaca_tui.store import seeds

    text = seeds.export(common.open_db(ctx), enabled_only=enabled, ascii=escape)
    if str(file) == "-":
        sys.stdout.write(text)
        return
    temporary = file.with_name(f".{file.name}.part")
    try:
        temporary.write_bytes(text.encode("utf-8"))
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AlpacaError(f"cannot write {file}: {error.strerror}") from error
    number = text.count("\n")
    common.emit(ctx, {"file": str(file), "seeds": number}, f"{_counted(number, 'seed')} in {file}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AlpacaError(f"cannot read {path}: {error.strerror}") from error
