"""The dialogs that start work, filled in so that enter alone does something sensible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.ui.screens.dialogs import Field, Form
from alpaca_tui.ui.snapshot import Snapshot

if TYPE_CHECKING:
    from alpaca_tui.ui.app import CockpitApp

SEED_SUITE = "(the seed tasks)"
"""What the form calls the suite of seeds; no data set's name can be mistaken for it."""
METHODS = ("auto", "lora", "qlora", "full", "full-offload")
MODEL_NOTE = "smollm2-135m, a directory, a hub id, or openai:MODEL@URL."


def default_target(usable: int, last: int | None) -> int:
    """A target that asks for something: the last one if it is not met yet, else about a third more than there is."""
    if last is not None and last > usable:
        return last
    return max(32, (usable * 4 // 3 + 16) // 16 * 16)


def whole(values: Mapping[str, str], name: str, label: str, least: int) -> int | None:
    """A whole number from a form; None where the field is empty. Raises AlpacaError with what is wrong."""
    text = values[name]
    if not text:
        return None
    try:
        number = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise AlpacaError(f"{label} must be a whole number, not {text!r}.") from None
    if number < least:
        raise AlpacaError(f"{label} must be {least} or more.")
    return number


def decimal(values: Mapping[str, str], name: str, label: str, low: float, high: float) -> float | None:
    """A number from a form within the bounds; None where the field is empty. Raises AlpacaError."""
    text = values[name]
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise AlpacaError(f"{label} must be a number, not {text!r}.") from None
    if not low <= number <= high:
        raise AlpacaError(f"{label} must lie between {low:g} and {high:g}.")
    return number


def prompt_packs(project: Path) -> list[str]:
    """The prompt packs that ship and those of the project."""
    from alpaca_tui import resources

    folders = [resources.prompt_packs_dir(), project / "prompts"]
    return sorted({p.parent.name for folder in folders for p in folder.glob("*/pack.toml")})


class Forms:
    """Opens the dialogs; what is entered is checked, then handed to the app's work."""

    def __init__(self, app: CockpitApp) -> None:
        self._app = app

    @property
    def _snapshot(self) -> Snapshot:
        return self._app.snapshot

    def _form(self, title: str, intro: str, fields: list[Any], submit: Callable[[Mapping[str, str]], None]) -> None:
        def checked(values: Mapping[str, str]) -> str | None:
            try:
                submit(values)
            except (AlpacaError, ValueError) as error:
                return str(error)
            return None

        self._app.push_screen(Form(title, intro, fields, checked))

    def _open(self, dialog: Callable[[], None]) -> None:
        """Open the dialog; where config.toml can't be read for its defaults, say so instead."""
        try:
            dialog()
        except AlpacaError as error:
            self._app.say(f"{str(error).rstrip('.')}. Mend it, then press the key again.", "error")

    def _last_spec(self, kind: str) -> dict[str, Any]:
        return next((j.row.spec for j in self._snapshot.jobs if j.row.kind == kind), {})

    def generate(self) -> None:
        """The dialog that starts a generation."""
        self._open(self._generate)

    def _generate(self) -> None:
        defaults = self._app.config.generate
        last = self._last_spec("generate")
        target = default_target(self._snapshot.usable, last.get("target"))
        runs = sum(j.row.kind == "generate" for j in self._snapshot.jobs)
        packs = prompt_packs(self._app.project)
        fields = [
            Field("target", "Target", str(target), note="Samples that are pending or accepted at the end."),
            Field("model", "Model", last.get("model", defaults.model), note=MODEL_NOTE),
            Field("recipe", "Recipe", last.get("recipe", defaults.recipe), tuple(packs), "The prompt pack."),
            Field("seed", "Seed", str(runs), note="Makes the run repeatable. Another seed gives other samples."),
            Field(
                "threshold",
                "Novelty",
                str(last.get("threshold", defaults.threshold)),
                note="ROUGE-L from which an instruction is too close to a known one.",
            ),
        ]
        intro = f"{self._snapshot.usable} samples are pending or accepted now."
        if wanted := self._snapshot.facts.wanted:
            intro += f" {wanted} rescued or flipped instructions are completed whatever the target."
        self._form("Generate", intro, fields, self._start_generate)

    def _start_generate(self, values: Mapping[str, str]) -> None:
        from alpaca_tui.jobs import models
        from alpaca_tui.jobs.specs import GenerateSpec

        target = whole(values, "target", "Target", 1)
        if target is None or (target <= self._snapshot.usable and not self._snapshot.facts.wanted):
            raise AlpacaError(f"{self._snapshot.usable} are there already: choose a higher target.")
        models.resolve(values["model"], fetch=False)
        threshold = decimal(values, "threshold", "Novelty", 0.0, 1.0)
        defaults = self._app.config.generate
        spec = GenerateSpec(
            target=target,
            model=values["model"],
            recipe=values["recipe"],
            seed=whole(values, "seed", "Seed", 0) or 0,
            threshold=defaults.threshold if threshold is None else threshold,
            batch=defaults.batch,
            options=defaults.options,
            output_model=defaults.output_model,
        )
        self._app.work.submit("generate", spec, "Generation")

    def train(self) -> None:
        """The dialog that starts a fine-tune."""
        self._open(self._train)

    def _train(self) -> None:
        names = self._snapshot.facts.datasets
        if not names:
            self._app.say("There is no data set yet. Press f to freeze the accepted samples as one.", "warning")
            return
        last = self._last_spec("train")
        chosen = last.get("overrides", {})
        fields = [
            Field("dataset", "Data set", names[-1], names, "A frozen data set."),
            Field(
                "model",
                "Model",
                last.get("model", self._app.config.generate.model),
                note="smollm2-135m, a directory or a hub id.",
            ),
            Field(
                "method",
                "Method",
                last.get("method", "auto"),
                METHODS,
                "auto takes what fits this machine.",
            ),
            Field(
                "epochs",
                "Epochs",
                str(chosen.get("epochs", "")),
                note="Passes over the data; empty: the preset for this model.",
            ),
            Field(
                "max_steps",
                "Max. steps",
                str(chosen.get("max_steps", "")),
                note="Optimiser steps; empty: as the epochs need.",
            ),
        ]
        self._form("Train", "Fine-tunes a model on a frozen data set.", fields, self._start_train)

    def _start_train(self, values: Mapping[str, str]) -> None:
        from alpaca_tui.jobs import models
        from alpaca_tui.jobs.specs import TrainSpec

        overrides = {
            "epochs": decimal(values, "epochs", "Epochs", 0.01, 1000.0),
            "max_steps": whole(values, "max_steps", "Max. steps", 1),
        }
        models.resolve(values["model"], fetch=False)
        spec = TrainSpec.model_validate(
            {
                "dataset": values["dataset"],
                "model": values["model"],
                "method": values["method"],
                "overrides": {name: value for name, value in overrides.items() if value is not None},
            }
        )
        self._app.work.submit("train", spec, "Training")

    def evaluate(self) -> None:
        """The dialog that scores models."""
        self._open(self._evaluate)

    def _evaluate(self) -> None:
        names = self._snapshot.facts.datasets
        tuned = [j for j in self._snapshot.jobs if j.row.kind == "train" and j.row.state == "succeeded"]
        base = tuned[0].row.spec["model"] if tuned else self._app.config.generate.model
        suite = tuned[0].row.spec["dataset"] if tuned else names[-1] if names else SEED_SUITE
        models = f"{base}, job:{tuned[0].row.id}" if tuned else base
        intro = "Scores models on the same tasks." + ("" if tuned else " No model is tuned yet.")
        fields = [
            Field("suite", "Tasks of", suite, (*names, SEED_SUITE), "A data set's held-out rows, or the seed tasks."),
            Field("models", "Models", models, note="By comma; job:N is what training job N made."),
            Field("limit", "At most", "", note="Tasks; empty: all."),
        ]
        self._form("Evaluate", intro, fields, self._start_evaluate)

    def _start_evaluate(self, values: Mapping[str, str]) -> None:
        from alpaca_tui.jobs.specs import EvaluateSpec

        models = tuple(m.strip() for m in values["models"].split(",") if m.strip())
        if not models:
            raise AlpacaError("Name at least one model.")
        limit = whole(values, "limit", "At most", 1)
        dataset = None if values["suite"] == SEED_SUITE else values["suite"]
        spec = EvaluateSpec.model_validate({"dataset": dataset, "models": models, "limit": limit})
        self._app.work.submit("evaluate", spec, "Evaluation")

    def freeze(self) -> None:
        """The dialog that freezes a data set."""
        accepted = self._snapshot.facts.funnel.accepted
        if not accepted:
            self._app.say("Nothing is accepted yet. Review some samples first (2, then a).", "warning")
            return
        fields = [
            Field(
                "name", "Name", f"set-{len(self._snapshot.facts.datasets) + 1}", note="A frozen data set never changes."
            ),
            Field("held_out", "Held out", "0.1", note="The share kept for evaluation, drawn by instruction."),
        ]
        self._form("Freeze", f"{accepted} accepted samples become a data set.", fields, self._start_freeze)

    def _start_freeze(self, values: Mapping[str, str]) -> None:
        from alpaca_tui.store import datasets

        if not values["name"]:
            raise AlpacaError("Give the data set a name.")
        share = decimal(values, "held_out", "Held out", 0.0, 0.9)
        row = datasets.freeze(self._app.db, values["name"], held_out=0.1 if share is None else share)
        self._app.say(f"Frozen: {row.name}, {row.card['train']} to train on, {row.card['held_out']} held out.")
        self._app.watcher.poke()
