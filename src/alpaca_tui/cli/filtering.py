"""``filter``: replay the project's filter at another threshold or by other rules, or filter any file."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui import config
from alpaca_tui.cli import common
from alpaca_tui.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from alpaca_tui.core.instruction_rules import InstructionRule
    from alpaca_tui.core.rouge import TokenizerName
    from alpaca_tui.core.rule_settings import RuleSettings
    from alpaca_tui.store.replays import CandidateChange, Replay, Tally

_SHOWN = 20
_CHART_ROWS = 8


class Tokenizer(StrEnum):
    """How texts are cut into words for ROUGE-L."""

    rouge = "rouge"
    unicode = "unicode"


class Rules(StrEnum):
    """Which rules for instructions apply."""

    all = "all"
    novelty = "novelty"


def register(app: typer.Typer) -> None:
    """Add the command to the main app."""
    app.command("filter")(filter_command)


def filter_command(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A JSON list or JSON lines; without it: the project's candidates."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="X", help="ROUGE-L over which it is no novelty.")
    ] = None,
    tokenizer: Annotated[
        Tokenizer | None, typer.Option(help="unicode: for other languages than English (project: as configured).")
    ] = None,
    rules: Annotated[Rules, typer.Option(help="All rules for instructions, or ROUGE-L alone.")] = Rules.all,
    without: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help="Leave this rule out; may be repeated.")
    ] = None,
    field: Annotated[str, typer.Option(help="FILE: the field that holds the instruction.")] = "instruction",
    output: Annotated[Path | None, typer.Option(help="FILE: where the kept records go.")] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="FILE: where the rejected go, each with rule, score and neighbour.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--config", metavar="TOML", help="FILE: take threshold and rules from a project's config.toml."),
    ] = None,
    instances: Annotated[
        bool | None,
        typer.Option(
            "--instances/--no-instances",
            help="Project: judge the samples' inputs and outputs again too (default: where their rules have changed).",
            show_default=False,
        ),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Project: how many X from 0.50 to 1.00 would keep.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Project: carry the changes out.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Project: take back what was applied last.")] = False,
) -> None:
    """Say what the filter keeps at X: of the project's candidates, without a model call, or of any file.

    Without FILE nothing is changed unless --apply is given. A sample that a person has judged is never touched.
    """
    if file is not None:
        if curve or apply or undo:
            raise UsageError("--curve, --apply and --undo are about the project; leave FILE out")
        if instances is not None:
            raise UsageError("--instances is about the project's samples; a FILE's records are judged by instruction")
        chosen = config.Config() if settings is None else config.load_file(settings)
        _filter_file(ctx, file, chosen, threshold, tokenizer, rules, without or [], field, output, rejects)
    elif output or rejects or settings:
        raise UsageError("--output, --rejects and --config go with a FILE; a project has its own config.toml")
    elif undo:
        if apply or curve:
            raise UsageError("--undo stands alone")
        _undo(ctx)
    else:
        _replay(ctx, threshold, tokenizer, rules, without or [], instances, curve=curve, apply=apply)


def _chosen(
    threshold: float, tokenizer: TokenizerName, rules: Rules, without: list[str], settings: RuleSettings
) -> list[InstructionRule]:
    """The rule objects. Raises UsageError for an unknown name in ``without``."""
    from alpaca_tui.core.instruction_rules import instruction_rules

    names = [rule.name for rule in instruction_rules(threshold)]
    unknown = next((name for name in without if name not in names), None)
    if unknown is not None:
        raise UsageError(f"there is no rule {unknown!r}; the rules for instructions are {', '.join(names)}")
    every = [rule for rule in instruction_rules(threshold, tokenizer, settings) if rule.name not in without]
    return every if rules is Rules.all else [rule for rule in every if rule.name == "novelty"]


def _filter_file(
    ctx: typer.Context,
    file: Path,
    settings: config.Config,
    threshold: float | None,
    tokenizer: Tokenizer | None,
    rules: Rules,
    without: list[str],
    field: str,
    output: Path | None,
    rejects: Path | None,
) -> None:
    from alpaca_tui.cli.filter_file import filter_file

    if output is not None and rejects is not None and output.resolve() == rejects.resolve():
        raise UsageError(f"--output and --rejects are both {output}; give them different names")
    threshold = settings.generate.threshold if threshold is None else threshold
    words = tokenizer.value if tokenizer else settings.rules.tokenizer
    chosen = _chosen(threshold, words, rules, without, settings.rules.settings())
    value = filter_file(file, chosen, words, field, output, rejects)
    rejected = ", ".join(f"{rule} {n:,}" for rule, n in value["rejected"].items())
    text = (
        f"{value['total']:,} records, {value['kept']:,} kept, {value['total'] - value['kept']:,} rejected"
        f"{f' ({rejected})' if rejected else ''} in {value['seconds']:.1f} s"
    )
    written = {"output": str(output) if output else None, "rejects": str(rejects) if rejects else None}
    by = {"threshold": threshold, "tokenizer": words, "rules": [rule.name for rule in chosen]}
    common.emit(ctx, {**value, "file": str(file), **written, **by}, text)


def _undo(ctx: typer.Context) -> None:
    from alpaca_tui.jobs.reconcile import reconcile
    from alpaca_tui.store import overview, replays

    db = common.open_db(ctx)
    reconcile(db, common.project_dir(ctx))  # a dead run must not stand in the way
    number = replays.undo(db)
    funnel = overview.funnel(db)
    value = {"undone": number, "total": funnel.candidates, "kept": funnel.kept, "rejected": funnel.rejected}
    common.emit(ctx, value, f"replay {number} is undone: {funnel.kept:,} of {funnel.candidates:,} candidates kept")


def _replay(
    ctx: typer.Context,
    threshold: float | None,
    tokenizer: Tokenizer | None,
    rules: Rules,
    without: list[str],
    instances: bool | None,
    *,
    curve: bool,
    apply: bool,
) -> None:
    from alpaca_tui.cli.progress import progress
    from alpaca_tui.jobs.reconcile import reconcile
    from alpaca_tui.store import replays

    began = time.monotonic()
    db = common.open_db(ctx)
    settings = config.load(common.project_dir(ctx))
    chosen_x = settings.generate.threshold if threshold is None else threshold
    name = tokenizer.value if tokenizer else settings.rules.tokenizer
    ours = settings.rules.settings()
    names = [rule.name for rule in _chosen(chosen_x, name, rules, without, ours)]
    by: replays.By = {"tokenizer": name, "rules": names, "settings": ours, "instances": instances}
    if apply:
        reconcile(db, common.project_dir(ctx))  # a dead run must not stand in the way
    with progress() as show:

        def shown(done: int, total: int) -> None:
            show(f"{done:,} of {total:,} judged")

        work = replays.apply if apply else replays.preview
        replay = work(db, chosen_x, progress=shown, **by)
        points = replays.threshold_curve(db, progress=shown, **by) if curve else []
    value = _as_json(replay, round(time.monotonic() - began, 2))
    if curve:
        value["curve"] = [list(point) for point in points]
    common.emit(ctx, value, lambda console: _print(console, replay, points))
    later = settings.generate.threshold
    if apply and chosen_x != later:
        common.narrate(
            f"later generations still filter at {later:g}: set threshold = {chosen_x:g} "
            f"under [generate] in {common.project_dir(ctx) / config.CONFIG_NAME}, or pass --threshold"
        )


def _as_json(replay: Replay, seconds: float) -> dict[str, Any]:
    return {
        "total": replay.after.kept + sum(replay.after.rejected.values()),
        "kept": replay.after.kept,
        "rejected": replay.after.rejected,
        "seconds": seconds,
        "before": {"kept": replay.before.kept, "rejected": replay.before.rejected},
        "samples": _samples_json(replay),
        "threshold": replay.threshold,
        "tokenizer": replay.tokenizer,
        "rules": list(replay.rules),
        "changes": {
            "candidates": [_change_json(change) for change in replay.candidates],
            "samples": [
                {"id": s.id, "candidate": s.candidate_id, "from": s.from_state, "to": s.to_state, "rule": s.rule}
                for s in replay.samples
            ],
            "left_to_the_person": list(replay.untouched),
        },
        "applied": replay.applied,
    }


def _samples_json(replay: Replay) -> dict[str, Any] | None:
    """None where the rules for instances were not asked again."""
    before, after = replay.samples_before, replay.samples_after
    if before is None or after is None:
        return None
    return {"before": {"kept": before.kept, "rejected": before.rejected}} | {
        "kept": after.kept,
        "rejected": after.rejected,
    }


def _change_json(change: CandidateChange) -> dict[str, Any]:
    near = change.neighbour
    return {
        "id": change.id,
        "instruction": change.instruction,
        "before": change.before,
        "after": change.after,
        "stage": change.to_stage,
        "score": change.score,
        "neighbour": None if near is None else {"kind": near.kind, "id": near.id},
    }


def _print(console: Console, replay: Replay, points: list[tuple[float, int]]) -> None:
    console.print(_table(f"at {replay.threshold:g}", replay.before, replay.after))
    if replay.samples_before is not None and replay.samples_after is not None:
        console.print(_table("samples", replay.samples_before, replay.samples_after))
    _print_changes(console, replay)
    if points:
        for line in chart(points, replay.threshold, _encodes(console)):
            console.print(line)
    if replay.applied is not None:
        console.print(f"applied as replay {replay.applied}; take it back with: alpaca-tui filter --undo")
    elif replay.candidates or replay.samples:
        console.print("nothing was changed; add --apply to carry it out", soft_wrap=True)


def _table(title: str, before: Tally, after: Tally) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for head in (title, "before", "after", ""):
        table.add_column(head, justify="left" if head == title else "right")
    rows = [("kept", before.kept, after.kept)]
    rules = list(dict.fromkeys([*after.rejected, *before.rejected]))
    rows += [(rule, before.rejected.get(rule, 0), after.rejected.get(rule, 0)) for rule in rules]
    for name, was, now in rows:
        table.add_row(name, f"{was:,}", f"{now:,}", f"{now - was:+,}" if now != was else "")
    return table


def _print_changes(console: Console, replay: Replay) -> None:
    from alpaca_tui.core.text import one_line

    kept = sum(change.after is None for change in replay.candidates)
    lost = len(replay.candidates) - kept
    console.print(f"{len(replay.candidates):,} candidates change sides: {kept:,} now kept, {lost:,} now rejected")
    for change in replay.candidates[:_SHOWN]:
        near = f" {change.neighbour.kind} {change.neighbour.id}" if change.neighbour else ""
        why = f"{change.after}{f' {change.score:.2f}' if change.score is not None else ''}{near}"
        side = f"kept, was {change.before}" if change.after is None else why
        line = f"  candidate {change.id}: {side}: {one_line(change.instruction)}"
        console.print(line, overflow="ellipsis", no_wrap=True)
    if replay.candidates[_SHOWN:]:
        console.print(f"  … and {len(replay.candidates) - _SHOWN:,} more (all of them with --json)")
    if replay.samples:
        gone = sum(sample.to_state == "filtered" for sample in replay.samples)
        ids = ", ".join(str(sample.id) for sample in replay.samples[:_SHOWN]) + (
            " …" if replay.samples[_SHOWN:] else ""
        )
        console.print(f"{len(replay.samples) - gone:,} samples come back, {gone:,} go: {ids}", soft_wrap=True)
    if replay.untouched:
        console.print(
            f"{len(replay.untouched):,} samples stay as they are although their instruction goes: a person judged them"
        )


def _encodes(console: Console) -> bool:
    return "utf" in (console.encoding or "").lower()


def chart(points: list[tuple[float, int]], threshold: float, blocks: bool = True) -> list[str]:
    """The would-keep curve as text: one column per X, and a mark under the threshold in question.

    The bottom of the chart is the lowest count, not 0; both ends are written at the side.
    """
    low, high = min(kept for _, kept in points), max(kept for _, kept in points)
    levels = " ▁▂▃▄▅▆▇█" if blocks else " .:-=+*##"
    steps = len(levels) - 1
    width = len(f"{high:,}")
    heights = [round((kept - low) / max(1, high - low) * (_CHART_ROWS * steps - 1)) + 1 for _, kept in points]
    lines = []
    for row in range(_CHART_ROWS - 1, -1, -1):
        label = f"{high:,}" if row == _CHART_ROWS - 1 else f"{low:,}" if row == 0 else ""
        cells = "".join(levels[max(0, min(steps, height - row * steps))] for height in heights)
        lines.append(f"{label:>{width}} {cells}".rstrip())
    nearest = min(range(len(points)), key=lambda i: abs(points[i][0] - threshold))
    here = points[nearest]
    lines.append(" " * (width + 1 + nearest) + "^")
    axis = f"{points[0][0]:.2f}".ljust(len(points) - 4) + f"{points[-1][0]:.2f}"
    lines.append(" " * (width + 1) + axis)
    lines.append(f"{'':{width}} would keep {here[1]:,} at {here[0]:.2f}")
    return lines
