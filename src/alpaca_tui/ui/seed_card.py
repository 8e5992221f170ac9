"""How a seed is drawn: its row with the counts beside it, and the whole task."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.content import Content

from alpaca_tui.core.records import SeedTask
from alpaca_tui.store.browse import SeedLine
from alpaca_tui.store.seeds import SeedRevision, SeedRow, SeedUsage
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal, literal_line
from alpaca_tui.ui.review_card import heading
from alpaca_tui.ui.widgets.lines import EMPTY

_POINTER_CELLS = 2


def head(width: int) -> Content:
    """The names of the columns, over rows of ``line``."""
    names = f"{'id':>4} on {'drawn':>6} {'acc.':>5} {'rej.':>5} C task (C: classification)"
    return Content.styled(" " * _POINTER_CELLS + names, "$muted").truncate(width, ellipsis=True)


def line(seed: SeedLine, usage: SeedUsage | None, width: int, glyphs: Glyphs) -> Content:
    """One row: id, on or off, how often drawn, samples accepted and rejected, class mark, the first words."""
    sign = (f" {glyphs.alive} ", "$success") if seed.enabled else (f" {glyphs.idle} ", "$warning bold")
    if usage is None:
        counts = [(f"{glyphs.ellipsis:>6} {glyphs.ellipsis:>5} {glyphs.ellipsis:>5}", "$faint")]
    else:
        counts = [
            (f"{usage.drawn:>6}", "" if usage.drawn else "$faint"),
            (f" {usage.accepted:>5}", "$success" if usage.accepted else "$faint"),
            (f" {usage.rejected:>5}", "$error" if usage.rejected else "$faint"),
        ]
    mark = (" C ", "$secondary bold") if seed.is_classification else ("   ", "")
    text = literal_line(seed.instruction[: 4 * width], "" if seed.enabled else "$muted", newline=glyphs.newline)
    return Content.assemble((f"{seed.id:>4}", "$faint"), sign, *counts, mark, text).truncate(width, ellipsis=True)


def paragraphs(
    row: SeedRow, usage: SeedUsage | None, revisions: Sequence[SeedRevision], glyphs: Glyphs
) -> list[Content]:
    """A seed in full: what it is, what came of it, its task with every instance, the earlier wordings."""
    task = row.task
    kind = "classification" if task.is_classification else "generation"
    state = (f"{glyphs.alive} on", "$success") if row.enabled else (f"{glyphs.idle} off: not drawn", "$warning bold")
    dot = (f" {glyphs.dot} ", "$faint")
    lines = [
        Content.assemble(literal_line(task.name, "bold"), "  ", literal_line(task.task_id, "$faint")),
        Content.assemble(state, dot, (kind, "$muted"), dot, (f"revision {row.revision}", "$muted")),
        usage_line(usage, glyphs),
        EMPTY,
        *_task(task),
    ]
    for revision in reversed(revisions):
        if revision.revision != row.revision:
            written = time.strftime("%Y-%m-%d %H:%M", time.localtime(revision.created_at))
            lines += [EMPTY, Content.styled(f"{glyphs.rule * 3} Revision {revision.revision}, {written}", "$muted")]
            lines += _task(revision.task)
    return lines


def usage_line(usage: SeedUsage | None, glyphs: Glyphs) -> Content:
    """How often the seed was shown, and what the calls that showed it led to; in words."""
    if usage is None:
        return Content.styled(f"counting what came of it{glyphs.ellipsis}", "$muted")
    if not usage.drawn:
        return Content.styled("never drawn yet", "$muted")
    judged = usage.accepted + usage.rejected
    share = f" ({100 * usage.accepted / judged:.0f} % of those judged)" if judged else ""
    return Content.assemble(
        (f"drawn {usage.drawn} time{'s' if usage.drawn > 1 else ''} {glyphs.arrow} ", "$muted"),
        (f"{usage.candidates} instructions, {usage.kept} kept {glyphs.arrow} samples: ", "$muted"),
        (f"{usage.accepted} accepted", "$success bold" if usage.accepted else "$muted"),
        (f"{share}, ", "$muted"),
        (f"{usage.rejected} rejected", "$error bold" if usage.rejected else "$muted"),
        (f", {usage.pending} pending, {usage.filtered} filtered by a rule", "$muted"),
    )


def _task(task: SeedTask) -> list[Content]:
    lines = [heading("Instruction"), literal(task.instruction)]
    for number, instance in enumerate(task.instances, 1):
        which = f" {number}" if len(task.instances) > 1 else ""
        if instance.input:
            lines += [EMPTY, heading(f"Input{which}"), literal(instance.input)]
        lines += [EMPTY, heading(f"Output{which}"), literal(instance.output)]
    return lines
