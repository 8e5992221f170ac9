"""``init``, ``status``, ``filter``, ``models``: the project, and what can be said of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from alpaca_tui.cli import common
from alpaca_tui.core.errors import AlpacaError


def register(app: typer.Typer) -> None:
    """Add the commands to the main app."""
    app.command()(init)
    app.command()(status)
    app.command()(prompt)
    app.add_typer(models, name="models", help="Resolve, verify and cache models.")


def init(ctx: typer.Context) -> None:
    """Create the project without opening it."""
    from alpaca_tui.store import seeds

    db = common.open_db(ctx, create=True)
    project = str(common.project_dir(ctx))
    count = seeds.count(db)
    common.emit(ctx, {"project": project, "seeds": count}, f"project {project} with {count} seed tasks")


def status(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="One screen of plain text, renewed until ctrl+c.")] = False,
) -> None:
    """What runs and how far it is."""
    from alpaca_tui.jobs import status as statuses

    db = common.open_db(ctx)
    project = common.project_dir(ctx)
    if watch:
        from alpaca_tui.cli import watching

        watching.watch(db, project, as_json=common.state(ctx).json)
        return
    value = statuses.status(db, project)
    common.emit(ctx, value, _status_text(value))


def _status_text(value: dict[str, Any]) -> str:
    candidates, samples = value["candidates"], value["samples"]
    rejected = ", ".join(f"{rule} {n}" for rule, n in candidates["rejected"].items()) or "none"
    lines = [
        f"project     {value['project']}",
        f"seeds       {value['seeds']}",
        f"candidates  {candidates['total']}: kept {candidates['kept']}; rejected by rule: {rejected}",
        f"samples     pending {samples['pending']}, accepted {samples['accepted']}, rejected {samples['rejected']}",
    ]
    for job in value["jobs"]:
        lines.append(job_line(job))
    if not value["jobs"]:
        lines.append("jobs        none yet; start one with: alpaca-tui generate --target 100")
    return "\n".join(lines)


def job_line(job: dict[str, Any]) -> str:
    """One job in one line."""
    parts = [f"job {job['id']:<3} {job['kind']:<9} {job['state']:<11}"]
    if job.get("progress") is not None:
        parts.append(f"{job['progress']:.0%}")
    if job.get("tokens_per_s"):
        parts.append(f"{job['tokens_per_s']:.0f} tok/s")
    if job.get("eta_s") is not None:
        low, high = job.get("eta_range_s") or (job["eta_s"], job["eta_s"])
        parts.append(f"about {job['eta_s']:.0f} s to go" + (f" ({low:.0f} to {high:.0f})" if high > low else ""))
    if job.get("cost"):
        parts.append(f"cost {job['cost']:.2g}" + (f", {job['cost_to_go']:.2g} to go" if job.get("cost_to_go") else ""))
    if job.get("heartbeat_age_s") is not None:
        parts.append(f"heartbeat {job['heartbeat_age_s']:.0f} s ago")
    if job.get("reason"):
        parts.append(job["reason"])
    return "  ".join(parts)


def prompt(ctx: typer.Context, call: Annotated[int, typer.Argument(metavar="CALL", help="A model call's id.")]) -> None:
    """Show a model call: the prompt exactly as it was sent, and the answer."""
    from alpaca_tui.core.prompts import parse_pack, render
    from alpaca_tui.core.text import clean_text
    from alpaca_tui.store import completions

    db = common.open_db(ctx)
    row = completions.get(db, call)
    template, variables, files = completions.pack_files(db, call)
    text = render(parse_pack(files), template, variables)
    value = {"call": call, "stage": row["stage"], "model": row["model"], "prompt": text, "completion": row["text"]}
    common.emit(ctx, value, clean_text(f"{text}\n----- answered by {row['model']} -----\n{row['text']}"))


models = typer.Typer(no_args_is_help=True)


@models.command("list")
def models_list(ctx: typer.Context) -> None:
    """The models in the cache."""
    from alpaca_tui.jobs import models as found

    names = sorted(p.name for p in found.cache_root().glob("models/*") if p.is_dir()) if found.cache_root() else []
    common.emit(ctx, {"models": names}, "\n".join(names) or "none cached; add one with: alpaca-tui models add SPEC")


@models.command("add")
def models_add(ctx: typer.Context, spec: str) -> None:
    """Fetch a model where it isn't here yet, and verify it."""
    from alpaca_tui.jobs import models as found

    ref = found.resolve(spec)
    if ref.path is not None:
        found.check(ref.path)
    common.emit(ctx, {"spec": spec, "path": str(ref.path)}, f"{spec} is ready: {ref.path or ref.name}")


@models.command("check")
def models_check(ctx: typer.Context, spec: str) -> None:
    """Verify shapes, tokenizer ids and safetensors of a model that is here; ask an endpoint one tiny question."""
    from dataclasses import asdict

    from alpaca_tui.jobs import models as found

    ref = found.resolve(spec, fetch=False)
    if ref.kind == "openai":
        from alpaca_tui.workers.probe import probe

        value = probe(spec, common.project_dir(ctx))
        answers = f"{spec} answers ({value['interface']}, {value['seconds']} s)"
        counts = f"counts tokens: {'yes' if value['counts_tokens'] else 'no, they are guessed'}"
        choices = f"yes/no log-probabilities: {'yes' if value['logprobs'] else 'no, the text decides'}"
        known = value["context_length"]
        context = f"context: {known or 'not told; set context_length in config.toml to have prompts checked'}"
        common.emit(
            ctx, value, "\n".join([answers, counts, choices, context, f"names: {', '.join(value['models']) or '-'}"])
        )
        return
    if ref.path is None or not ref.path.is_dir():
        raise AlpacaError(f"{spec} is not on this machine yet; fetch it with: alpaca-tui models add {spec}")
    facts = found.check(ref.path)
    text = (
        f"{spec} is sound: {facts.architecture}, {facts.parameters:,} parameters in {facts.dtype}, "
        f"{facts.layers} layers, context {facts.context_length}"
    )
    common.emit(ctx, {"spec": spec, "path": str(ref.path), **asdict(facts)}, "\n".join([text, *facts.notes]))


def _register_merge() -> None:
    from alpaca_tui.cli.training import merge

    models.command("merge")(merge)


_register_merge()
