"""How evaluations are drawn: the table of figures, a task with what two models wrote, what the judgements say."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content, Span

from alpaca_tui.core import preference
from alpaca_tui.core.answers import METRICS, Metric
from alpaca_tui.core.visible import printable
from alpaca_tui.store.comparisons import Standing
from alpaca_tui.store.evaluations import EvaluationItem, EvaluationRow
from alpaca_tui.store.suites import SuiteTask
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import MAX_SHOWN, literal, literal_line
from alpaca_tui.ui.review_card import heading, named
from alpaca_tui.ui.widgets.lines import EMPTY

COMMON = "$muted"
DIFFERENT = "bold"
_JOB_CELLS = 6
_VALUE_CELLS = {"held_out_loss": 8, "rouge_l": 9, "exact_match": 8, "words": 7, "empty": 8, "repetition": 8, "cut": 8}
_TITLES = {"held_out_loss": "loss", "exact_match": "exact", "repetition": "repet.", "cut": "cut"}
_INTERVAL_CELLS = 14
_NAME_CELLS = (14, 34)
_SUITE_CELLS = 9


def table_lines(rows: Sequence[EvaluationRow], chosen: Sequence[int], width: int, glyphs: Glyphs) -> list[Content]:
    """A line a model, newest job first; the better figure within one job is marked, the ``chosen`` ids are pointed at.

    95 % intervals stand behind loss and ROUGE-L where there is room.
    """
    fixed = _JOB_CELLS + sum(_VALUE_CELLS.values()) + _NAME_CELLS[0]
    wide = width >= fixed + 2 * _INTERVAL_CELLS + 12
    room = width - fixed - (2 * _INTERVAL_CELLS if wide else 0) - 12
    name_width = max(_NAME_CELLS[0], min(_NAME_CELLS[1], _NAME_CELLS[0] + room))
    lines = [_head(name_width, wide).truncate(width)]
    for row in sorted(rows, key=lambda r: (-r.job_id, r.id)):
        peers = [r for r in rows if r.job_id == row.job_id]
        pointer = glyphs.pointer if row.id in chosen else " "
        name = literal_line(row.model, "bold" if row.id in chosen else "").truncate(name_width - 1, ellipsis=True)
        gap = " " * (name_width - name.cell_length)
        parts: list[Content | tuple[str, str]] = [(f"{pointer}{row.job_id:>4} ", "$faint"), name, (gap, "")]
        for metric in METRICS:
            parts += _cells(metric, row, peers, wide, glyphs)
        line = Content.assemble(*parts)
        if width - line.cell_length >= _SUITE_CELLS:
            line = line + literal_line(f"  {row.suite}", "$muted")
        lines.append(line.truncate(width, ellipsis=True))
    return lines


def _head(name_width: int, wide: bool) -> Content:
    cells = [f"{'job':>5} {'model':<{name_width}}"]
    for metric in METRICS:
        title = _TITLES.get(metric.name, metric.title)
        cells.append(f"{title:>{_VALUE_CELLS[metric.name] - 2}}  ")
        if wide and metric.name in ("held_out_loss", "rouge_l"):
            cells.append(f"{' 95 %':<{_INTERVAL_CELLS}}")
    return Content.styled("".join(cells) + "  suite", "$muted underline")


def _cells(
    metric: Metric, row: EvaluationRow, peers: Sequence[EvaluationRow], wide: bool, glyphs: Glyphs
) -> list[Content | tuple[str, str]]:
    value = row.metrics.get(metric.name)
    known = [v for peer in peers if (v := peer.metrics.get(metric.name)) is not None]
    best = (max if metric.more_is_better else min)(known) if known and metric.more_is_better is not None else None
    is_best = value is not None and len(set(known)) > 1 and value == best
    mark = f" {glyphs.check}" if is_best else "  "
    width = _VALUE_CELLS[metric.name] - 2
    cells: list[Content | tuple[str, str]] = [(f"{metric.shown(value):>{width}}{mark}", "$success" if is_best else "")]
    if wide and metric.name in ("held_out_loss", "rouge_l"):
        low, high = row.metrics.get(f"{metric.name}_low"), row.metrics.get(f"{metric.name}_high")
        shown = "" if low is None or high is None else f" {low:.2f}–{high:.2f}"
        cells.append((f"{shown:<{_INTERVAL_CELLS}}", "$faint"))
    return cells


def task_paragraphs(task: SuiteTask, *, reference: bool = True) -> list[Content]:
    """Instruction, input and, where it may be seen, the reference."""
    note = "classification" if task.is_classification else ""
    paragraphs = [heading("Instruction", note), literal(task.instruction, limit=MAX_SHOWN)]
    if task.input:
        paragraphs += [EMPTY, heading("Input"), literal(task.input, limit=MAX_SHOWN)]
    if reference:
        paragraphs += [EMPTY, heading("Reference"), literal(task.output, limit=MAX_SHOWN)]
    return paragraphs


def answer_paragraphs(row: EvaluationRow, item: EvaluationItem | None, other: EvaluationItem | None) -> list[Content]:
    """What one model wrote, with its scores; words that the other model did not write stand out."""
    if item is None:
        return [named(row.model), Content.styled("no answer to this task", "$muted")]
    score = item.score
    notes = [f"ROUGE-L {score.rouge_l:.3f}", f"{score.words} words"]
    if score.exact is not None:
        notes.append("exact match" if score.exact else "no exact match")
    notes += [text for text, said in (("repetitive", score.repetitive), ("cut off", score.cut)) if said]
    return [named(row.model, ", ".join(notes)), written(item.output, other.output if other else None)]


def written(text: str, other: str | None = None) -> Content:
    """A model's text to the letter; what it shares with the other in the same order steps back."""
    if not text:
        return Content.styled("(empty)", "$warning italic")
    if other is None or text == other or len(text) > MAX_SHOWN or len(other) > MAX_SHOWN:
        return literal(text, limit=MAX_SHOWN)
    from alpaca_tui.core.rouge import common_subsequence

    shown = printable(text)
    spans, _ = common_subsequence(shown, printable(other))
    if not spans:
        return literal(text)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(shown)]
    # Marks between two shared words are no words of its own.
    gaps = [(end, start) for end, start in zip(ends, starts, strict=True) if any(map(str.isalnum, shown[end:start]))]
    between = [Span(end, start, DIFFERENT) for end, start in gaps]
    return literal(text).add_spans([Span(start, end, COMMON) for start, end in spans] + between)


def standing_paragraphs(standing: Standing) -> list[Content]:
    """What the judgements say: win rate, interval, the plain sentence, and what the reader must know of them."""
    tally = standing.tally
    rate = preference.win_rate(tally)
    lines: list[Content] = []
    if rate is not None:
        lines += [
            Content.assemble(
                literal_line(standing.second, "$accent bold"),
                (f" wins {_percent(rate.rate)}", "bold"),
                (f"  95 % interval {_percent(rate.low)} to {_percent(rate.high)}, ties counted half", "$muted"),
            ),
            Content.assemble(
                literal_line(standing.second), f" {tally.second}   ", literal_line(standing.first),
                f" {tally.first}   ties {tally.tie}   both bad {tally.both_bad}",
            ),
        ]  # fmt: skip
    names = (printable(standing.first), printable(standing.second))
    lines.append(literal(preference.verdict_sentence(tally, *names, standing.left)))
    if standing.same:
        lines.append(Content.styled(f"On {standing.same} further tasks both wrote the same.", "$muted"))
    if standing.after_reveal:
        text = f"{standing.after_reveal} judgements were made after the result had been looked at."
        lines.append(Content.styled(text, "$warning"))
    return lines


def standing_line(standing: Standing | None, *, hidden: bool) -> Content:
    """The judgements in one line; nothing of the result while it is ``hidden``."""
    if standing is None or not standing.tally.judged:
        return Content.assemble(
            ("Blind A/B: nothing judged yet. ", "$muted"), ("b", "$accent bold"), (" judges without names", "$muted")
        )
    judged = standing.tally.judged
    if hidden:
        return Content.assemble(
            (f"Blind A/B: {judged} judged, {standing.left} left, result hidden. ", "$muted"),
            ("b", "$accent bold"), (" goes on", "$muted"),
        )  # fmt: skip
    rate = preference.win_rate(standing.tally)
    assert rate is not None
    names = (printable(standing.first), printable(standing.second))
    return Content.assemble(
        ("Blind A/B: ", "$muted"), literal_line(standing.second, "bold"),
        f" wins {_percent(rate.rate)} ({_percent(rate.low)} to {_percent(rate.high)}) of {judged}. ",
        literal_line(preference.verdict_sentence(standing.tally, *names, standing.left), "$muted"),
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
