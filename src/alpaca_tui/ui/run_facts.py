"""A training run in words: progress, plan against reality, the machine, checkpoints, what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from alpaca_tui.ui.charts import bar
from alpaca_tui.ui.figures import clock, duration, number, size
from alpaca_tui.ui.glyphs import Glyphs
from alpaca_tui.ui.literal import literal_line
from alpaca_tui.ui.snapshot import Gpu, Machine, TrainingView
from alpaca_tui.ui.widgets.lines import EMPTY
from alpaca_tui.ui.widgets.panes import progress_bar

if TYPE_CHECKING:
    from alpaca_tui.jobs.checkpoints import Checkpoint
    from alpaca_tui.store.datasets import DatasetRow

EVENTS_SHOWN = 12
CHECKPOINTS_SHOWN = 6
BAD = ("torn",)
GOOD = ("saved", "proved", "checkpoint")
PLAN_PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "overhead")


@dataclass(frozen=True, slots=True)
class RunDetails:
    """What is read from the store and the folders for one run, off the event loop."""

    events: tuple[tuple[float, str, str], ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    measured: tuple[tuple[str, float], ...] = ()


def heading(text: str, note: str = "") -> Content:
    """The title of a part."""
    return Content.assemble((text, "$accent bold"), (f"  {note}" if note else "", "$faint"))


def fact(name: str, value: Content | str, style: str = "") -> Content:
    """A name and its value, values under each other."""
    return Content.assemble((f"{name:<16} ", "$muted"), (value, style) if isinstance(value, str) else value)


def run_lines(training: TrainingView, place: tuple[int, int], width: int, glyphs: Glyphs) -> list[Content]:
    """A run in words: state, progress, time left, what was asked, how it ended."""
    job, row = training.job, training.job.row
    lines = [
        Content.assemble(
            (f"RUN {row.id}", "$accent bold"), (f"  {place[0]} of {place[1]}" if place[1] > 1 else "", "$faint"),
            f"  {row.state}",
        )
    ]  # fmt: skip
    if job.active:
        progress = job.progress or 0.0
        eta = job.live[0].eta_s if job.live else None
        tail = f" {100 * progress:3.0f} %" + (f"  {duration(eta)} left" if eta is not None else "")
        lines.append(progress_bar(progress, max(4, width - len(tail)), glyphs, tail))
        lines += [literal_line(s.activity, "$muted").truncate(width, ellipsis=True) for s in job.live[:4]]
        if job.tokens_per_s:
            lines.append(fact("speed", f"{job.tokens_per_s:,.0f} tok/s"))
    elif row.finished_at and row.started_at:
        lines.append(Content.styled(f"took {duration(row.finished_at - row.started_at)}", "$muted"))
    asked = {k: row.spec.get(k) for k in ("model", "dataset", "method")} | row.spec.get("overrides", {})
    method = (row.result or {}).get("method")
    if method and asked.get("method") == "auto":
        asked["method"] = f"auto: {method}"
    for key, value in asked.items():
        lines.append(fact(key.replace("_", " "), literal_line(str(value))).truncate(width, ellipsis=True))
    for key in ("loss_first", "loss_last", "eval_loss_first", "eval_loss_last"):
        found = (row.result or {}).get(key)
        if isinstance(found, float):
            lines.append(fact(key.replace("eval_loss", "held-out").replace("_", " "), number(found), "bold"))
    return lines


def plan_lines(
    training: TrainingView, measured: dict[str, float], machine: Machine, width: int, glyphs: Glyphs
) -> list[Content]:
    """Planned against measured memory: the probe's peak beside its plan, the peak since, then the plan by part."""
    plan = (training.job.row.result or {}).get("plan")
    parts = plan.get("bytes_per_gpu", {}) if isinstance(plan, dict) else {}
    parts = parts if isinstance(parts, dict) else {}
    planned = _amount(parts.get("total"))
    lines = [heading("PLAN AGAINST REALITY")]
    probe, probe_plan = measured.get("probe_peak_bytes"), measured.get("probe_planned_bytes")
    rows = [("planned", planned), ("probe, planned", probe_plan), ("probe, peak", probe),
            ("peak since", measured.get("peak_memory_bytes"))]  # fmt: skip
    top = max([value for _, value in rows if value], default=0.0)
    if not top:
        return [*lines, Content.styled("No plan and no probe are known of this run.", "$muted")]
    reference = probe_plan or planned
    for name, value in rows:
        if value:
            lines.append(_memory_line(name, value, top, width, glyphs))
    if probe and reference:
        ratio = probe / reference
        word = "as planned" if 0.85 <= ratio <= 1.15 else ("more than planned" if ratio > 1 else "less than planned")
        style = "$warning" if ratio > 1.15 else "$success"
        sign = "!" if ratio > 1.15 else glyphs.check
        lines.append(Content.assemble((f"{sign} ", f"{style} bold"), (f"{ratio:.2f} of the plan: {word}", style)))
    if parts:
        split = [f"{name} {size(value)}" for name in PLAN_PARTS if (value := _amount(parts.get(name)))]
        lines += Content.styled(", ".join(split), "$faint").wrap(max(8, width))
    return lines


def _amount(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _memory_line(name: str, value: float, top: float, width: int, glyphs: Glyphs) -> Content:
    room = max(4, width - 17 - 9)
    drawn = bar(value, top, room, glyphs)
    rest = glyphs.track * max(0, room - len(drawn))
    return Content.assemble(
        (f"{name:<16} ", "$muted"), (drawn, "$held-out"), (rest, "$line"), (f"{size(value):>9}", "bold")
    )


def machine_lines(machine: Machine, width: int, glyphs: Glyphs) -> list[Content]:
    """A meter for each GPU, or for the processor and its memory where there is none."""
    lines = [heading("MACHINE")]
    for gpu in machine.gpus:
        lines += gpu_lines(gpu, width, glyphs)
    if not machine.gpus and machine.cpu is not None:
        used = size(machine.ram_used)
        lines.append(_meter("CPU", machine.cpu / 100, f"{machine.cpu} %", width, glyphs))
        full = machine.ram_used / machine.ram_total if machine.ram_total else 0.0
        lines.append(_meter("RAM", full, f"{used}/{size(machine.ram_total)}", width, glyphs))
    elif not machine.gpus:
        lines.append(Content.styled("no GPU; meters run while a job does", "$muted"))
    return lines


def gpu_lines(gpu: Gpu, width: int, glyphs: Glyphs) -> list[Content]:
    """Memory and use of one GPU, with its temperature."""
    full = gpu.memory_used / gpu.memory_total if gpu.memory_total else 0.0
    heat = "" if gpu.temperature is None else f" {gpu.temperature}°C{' hot!' if gpu.temperature >= 85 else ''}"
    use = 0.0 if gpu.use is None else gpu.use / 100
    said = "use unknown" if gpu.use is None else f"{gpu.use} %{heat}"
    memory = f"{gpu.memory_used / 1e9:.1f}/{gpu.memory_total / 1e9:.0f} GB"
    return [
        _meter(f"GPU {gpu.index}", use, said, width, glyphs),
        _meter("  memory", full, memory, width, glyphs),
    ]


def _meter(name: str, value: float, tail: str, width: int, glyphs: Glyphs) -> Content:
    room = max(4, width - 9 - 15)
    drawn = bar(value, 1.0, room, glyphs)
    style = "$error" if value >= 0.97 else "$success"
    return Content.assemble(
        (f"{name:<8} ", "$muted"),
        (drawn, style),
        (glyphs.track * max(0, room - len(drawn)), "$line"),
        (f"{tail:>15}", "bold"),
    )


def checkpoint_lines(found: Sequence[Checkpoint], width: int, glyphs: Glyphs) -> list[Content]:
    """Newest first: whole ones with their size, torn ones with why."""
    lines = [heading("CHECKPOINTS", f"{len(found)}" if found else "")]
    if not found:
        return [*lines, Content.styled("none saved yet", "$muted")]
    for item in found[:CHECKPOINTS_SHOWN]:
        sign = (f"{glyphs.check} ", "$success bold") if item.problem is None else (f"{glyphs.cross} ", "$error bold")
        word = "whole" if item.problem is None else "torn"
        lines.append(
            Content.assemble(
                sign, (f"step {item.step:<6}", "bold"), (f"{word:<6}", "$muted"), (f"{size(item.bytes):>7}", ""),
                (f" {clock(item.saved_at)}", "$faint"),
            ).truncate(width, ellipsis=True)
        )  # fmt: skip
        if item.problem is not None:
            lines += [Content("  ") + line for line in literal_line(item.problem, "$muted").wrap(max(8, width - 2))]
    return lines


def event_lines(events: Sequence[tuple[float, str, str]], width: int, glyphs: Glyphs) -> list[Content]:
    """The newest first: guards, probe, checkpoints, proof."""
    lines = [heading("EVENTS")]
    for at, kind, detail in reversed(events[-EVENTS_SHOWN:]):
        bad = kind in BAD or (kind == "state" and detail.startswith(("failed", "interrupted")))
        sign = glyphs.cross if bad else glyphs.check if kind in GOOD else glyphs.dot
        style = "$error bold" if bad else "$success" if kind in GOOD else "$muted"
        lines.append(
            Content.assemble((f"{sign} ", style), literal_line(f"{kind:<10} ", "$secondary"), (clock(at), "$faint"))
        )
        lines += [Content("  ") + line for line in literal_line(detail, "").wrap(max(8, width - 2))[:3]]
    return lines if events else [*lines, Content.styled("none yet", "$muted")]


def dataset_lines(rows: Sequence[DatasetRow], width: int) -> list[Content]:
    """The frozen data sets, newest first."""
    lines = [heading("DATA SETS")]
    if not rows:
        lines.append(Content.styled("none yet; f freezes one", "$muted"))
    for row in reversed(rows):
        sizes = f"{row.card.get('train', '?')} + {row.card.get('held_out', '?')} held out"
        name = literal_line(row.name, "bold").truncate(max(6, width - len(sizes) - 2), ellipsis=True)
        lines.append(Content.assemble(name, (f"  {sizes}", "$muted")))
        lines.append(Content.styled(f"  {row.content_hash[:12]}  {clock(row.created_at)}", "$faint"))
    return lines


def all_lines(
    training: TrainingView | None,
    details: RunDetails,
    machine: Machine,
    rows: Sequence[DatasetRow],
    place: tuple[int, int],
    width: int,
    glyphs: Glyphs,
) -> list[Content]:
    """Everything beside the curves, in the order in which one asks."""
    if training is None:
        return dataset_lines(rows, width)
    measured = dict(details.measured) | training.measured
    parts = [
        run_lines(training, place, width, glyphs),
        plan_lines(training, measured, machine, width, glyphs),
        machine_lines(machine, width, glyphs),
        checkpoint_lines(details.checkpoints, width, glyphs),
        event_lines(details.events, width, glyphs),
        dataset_lines(rows, width),
    ]
    lines: list[Content] = []
    for part in parts:
        lines += [*part, EMPTY]
    return lines[:-1]
