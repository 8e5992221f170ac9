"""``compare``: two evaluated models side by side in figures, and judged blindly in a plain terminal."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import UsageError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from alpaca_tui.core.answers import Difference
    from alpaca_tui.core.preference import Verdict
    from alpaca_tui.store.comparisons import Blind, Sitting, Standing
    from alpaca_tui.store.evaluations import EvaluationRow

KEYS: dict[str, Verdict] = {"l": "left", "r": "right", "t": "tie", "b": "both_bad"}
HELP = "l left is better, r right is better, t tie, b both bad, s skip, u undo, U redo, q leave"
RULE = 72


def register(app: typer.Typer) -> None:
    """Add the command to the main app."""
    app.command()(compare)


def compare(
    ctx: typer.Context,
    models: Annotated[
        tuple[str, str] | None,
        typer.Option("--models", metavar="A B", help="Two evaluated models (default: the last two of the newest job)."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "--suite", help="The data set or suite they were scored on.")
    ] = None,
    judge: Annotated[bool, typer.Option("--judge", help="Judge their answers blindly, line by line.")] = False,
) -> None:
    """Show two models side by side on the same tasks: every metric, the difference, its 95 % interval."""
    from alpaca_tui.store import comparisons, evaluations

    db = common.open_db(ctx)
    first, second = evaluations.newest_pair(db, models, dataset)
    if judge:
        sitting = comparisons.Sitting(comparisons.open_comparison(db, first, second))
        _judge(sitting)
        standing = sitting.comparison.standing()
        if standing.left:
            # The names stay hidden for those that are still to be judged.
            done = {"suite": first.suite, "judged": standing.tally.judged, "left": standing.left}
            common.emit(
                ctx, done, f"{done['judged']} judged, {done['left']} left; see the result with: alpaca-tui compare"
            )
            return
    value, differences = _report(db, first, second)
    common.emit(ctx, value, "\n".join(_text(value, first, second, differences)))


def _report(db: Database, first: EvaluationRow, second: EvaluationRow) -> tuple[dict[str, Any], list[Difference]]:
    from alpaca_tui.core.answers import METRICS
    from alpaca_tui.store import comparisons

    differences = comparisons.differences(db, first, second)
    metrics = {metric.name: metric for metric in METRICS}
    comparison = comparisons.find_comparison(db, first, second)
    standing = None
    if comparison is not None and comparison.judgements():
        standing = comparison.reveal()
    value = {
        "suite": first.suite,
        "models": {first.model: first.metrics, second.model: second.metrics},
        "differences": {
            d.metric: asdict(d) | {"clear": d.clear, "better": metrics[d.metric].better(d.delta)} for d in differences
        },
        "preference": None if standing is None else _preference(standing, first.model),
    }
    return value, differences


def _preference(standing: Standing, first: str) -> dict[str, Any]:
    """The judgements with the models in the order of the report; ``win_rate`` is the second's."""
    from alpaca_tui.core import preference

    tally, names = standing.tally, (standing.first, standing.second)
    if names[0] != first:
        tally = preference.Tally(tally.second, tally.first, tally.tie, tally.both_bad)
        names = (names[1], names[0])
    rate = preference.win_rate(tally)
    assert rate is not None
    return {
        **asdict(tally),
        "judged": tally.judged,
        "left": standing.left,
        "same": standing.same,
        "after_reveal": standing.after_reveal,
        "win_rate": rate.rate,
        "win_rate_low": rate.low,
        "win_rate_high": rate.high,
        "p": preference.sign_test(tally.first, tally.second),
        "needed": preference.more_needed(tally),
        "conclusion": preference.verdict_sentence(tally, *names, standing.left),
    }


def _text(
    value: dict[str, Any], first: EvaluationRow, second: EvaluationRow, differences: list[Difference]
) -> list[str]:
    from alpaca_tui.core.text import one_line

    names = [one_line(row.model) for row in (first, second)]
    lines = [f"{one_line(value['suite'])}, {first.metrics.get('items', 0):.0f} tasks", ""]
    lines += metrics_table({name: row.metrics for name, row in zip(names, (first, second), strict=True)}, differences)
    preference = value["preference"]
    if preference is None:
        lines += ["", "Nothing is judged yet; judge blindly with: alpaca-tui compare --judge (or b in the cockpit)"]
        return lines
    lines += [
        "",
        f"{names[1]} wins {100 * preference['win_rate']:.0f} % of {preference['judged']} blind judgements "
        f"(95 % interval {100 * preference['win_rate_low']:.0f} to {100 * preference['win_rate_high']:.0f} %): "
        f"{preference['second']} to {preference['first']}, {preference['tie']} ties, "
        f"{preference['both_bad']} both bad.",
        one_line(preference["conclusion"]),
    ]
    if preference["same"]:
        lines.append(f"On {preference['same']} further tasks both wrote the same.")
    if preference["after_reveal"]:
        lines.append(f"{preference['after_reveal']} judgements were made after the result had been looked at.")
    return lines


def metrics_table(models: dict[str, dict[str, float]], differences: list[Difference] | None = None) -> list[str]:
    """A line a metric: each model's value with its 95 % interval, and the difference with its own."""
    from alpaca_tui.core.answers import METRICS

    rows = [["", *models, *(["difference"] if differences else [])]]
    found = {d.metric: d for d in differences or []}
    for metric in METRICS:
        if all(metric.name not in values for values in models.values()):
            continue
        row = [metric.title]
        for values in models.values():
            low, high = values.get(f"{metric.name}_low"), values.get(f"{metric.name}_high")
            interval = f" [{metric.shown(low)} to {metric.shown(high)}]" if low is not None else ""
            row.append(metric.shown(values.get(metric.name)) + interval)
        difference = found.get(metric.name)
        if differences:
            row.append("" if difference is None else _difference(difference, metric.better(difference.delta)))
        rows.append(row)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _difference(difference: Difference, better: bool | None) -> str:
    from alpaca_tui.core.answers import METRICS

    metric = next(m for m in METRICS if m.name == difference.metric)
    if difference.delta is None:
        return "not comparable" if None not in (difference.first, difference.second) else ""

    def signed(value: float | None) -> str:
        assert value is not None
        return (
            f"{100 * value:+.0f} %"
            if metric.is_share
            else f"{value:+.1f}"
            if metric.name == "words"
            else f"{value:+.3f}"
        )

    word = "" if better is None or not difference.clear else ("  better" if better else "  worse")
    return f"{signed(difference.delta)} [{signed(difference.low)} to {signed(difference.high)}]{word}"


# Judging ----------------------------------------------------------------------------------------------------------


def _judge(sitting: Sitting) -> None:
    """Ask, line by line, until nothing is left, q or the end of the input. The cards go to stderr: no data."""
    common.narrate(HELP)
    shown: Blind | None = None
    while (blind := sitting.current) is not None:
        if blind != shown:
            _show(blind, sitting)
            shown = blind
        if sys.stdin.isatty():
            sys.stderr.write("l/r/t/b/s/u/U/q: ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        key = line.strip()
        if not line or key == "q":
            return
        if not _act(sitting, key):
            common.narrate(HELP)
        elif key == "s":
            shown = None
    common.narrate("Every task is judged.")


def _act(sitting: Sitting, key: str) -> bool:
    """Do what the key says; False where it says nothing."""
    if key in KEYS:
        try:
            sitting.judge(KEYS[key])
        except UsageError as error:
            common.narrate(str(error))
    elif key == "s":
        sitting.skip()
    elif key in ("u", "U"):
        done = sitting.undo() if key == "u" else sitting.redo()
        common.narrate("" if done else f"There is nothing to {'undo' if key == 'u' else 'redo'}.")
    else:
        return False
    return True


def _show(blind: Blind, sitting: Sitting) -> None:
    from alpaca_tui.core.visible import printable

    standing = sitting.comparison.standing()
    done = standing.tally.judged
    parts = [("Instruction", blind.task.instruction), ("Input", blind.task.input)]
    parts += [("LEFT", blind.left or "(empty)"), ("RIGHT", blind.right or "(empty)")]
    common.narrate(f"\n{'=' * RULE}\nTask {done + 1} of {done + standing.left}")
    for title, text in parts:
        if text:
            common.narrate(f"--- {title} {'-' * (RULE - 5 - len(title))}\n{printable(text)}")
    common.narrate("-" * RULE)
