"""A prompt pack looked at before a run is made of it: is it whole, and do its prompts fit the model's context?"""

from __future__ import annotations

from pathlib import Path

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.prompts import Pack, StagePrompt, render
from alpaca_tui.jobs import models

NEEDED = ("instruction", "classification", "output_first", "input_first")
"""The stages that a generation goes through."""

LONGEST_SUBJECT = " ".join(["instruction"] * 150)
"""As long as the length rule lets an instruction be: 150 words."""


def check_pack(project: Path, recipe: str, model: str) -> Pack:
    """The pack ``recipe`` of the project, checked against the model's context where the model is here already.

    Raises UsageError with one sentence: an unknown pack, a fault in its files, a prompt too long for the model.
    """
    pack = resources.read_pack(recipe, project / "prompts")
    missing = [stage for stage in NEEDED if stage not in pack.stages]
    if missing or pack.stage("instruction").style != "list":
        raise UsageError(
            f"prompt pack {pack.name!r} asks for whole tasks in one completion, which this version can't do yet; "
            "use the recipe self-instruct"
        )
    ref = models.resolve(model, fetch=False)
    if ref.path is None or not (ref.path / "tokenizer.json").is_file():
        return pack  # an endpoint, or a model that is still to be fetched: the run itself will see
    from tokenizers import Tokenizer

    context = models.check(ref.path).context_length
    tokenizer = Tokenizer.from_file(str(ref.path / "tokenizer.json"))
    for stage in pack.stages.values():
        prompt = len(tokenizer.encode(render(pack, stage.name, _longest_subject(pack, stage))).ids)
        if prompt + stage.params.max_new_tokens > context:
            raise UsageError(
                f"prompt pack {pack.name!r}, stage {stage.name!r}: a prompt can take {prompt} tokens and its answer "
                f"{stage.params.max_new_tokens}, more than the {context} of {model}; "
                "shorten the examples, lower max_new_tokens or choose another model"
            )
    return pack


def _longest_subject(pack: Pack, stage: StagePrompt) -> dict[str, object]:
    if stage.name != "instruction":
        return {"instruction": LONGEST_SUBJECT}
    return {"demonstrations": [LONGEST_SUBJECT] * pack.demonstrations.count}
