"""The same seed, model, batch and device write the same text: a run can be repeated, call by call."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alpaca_tui.backends.local import LocalBackend
from alpaca_tui.core.errors import AlpacaError
from alpaca_tui.core.prompts import parse_pack, render
from alpaca_tui.core.records import Instance, Request, SamplingParams, SeedTask
from alpaca_tui.jobs.live import LiveWriter, live_dir
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import completions, jobs, seeds
from alpaca_tui.store.database import create_project, open_project
from alpaca_tui.workers import backends, generate
from alpaca_tui.workers.base import WorkerContext


@pytest.fixture
def roomy_llama_dir(tiny_llama_dir: Path, tmp_path: Path) -> Path:
    """The tiny model with a context that the prompts of the recipe fit into."""
    folder = tmp_path / "roomy"
    shutil.copytree(tiny_llama_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return folder


def written(project: Path, model: Path, seed: int) -> list[tuple[str, int, str]]:
    """(variables, seed, text) of every call of a run; random weights write no list, so it ends as fruitless."""
    db = create_project(project)
    shown = (Instance("", "x"),)
    seeds.add(db, [SeedTask(f"s{i}", f"seed {i}", f"Tell {i} tales of the sea.", shown, False) for i in range(9)])
    options = {"settings": {"instruction.max_new_tokens": 6}}
    spec = GenerateSpec(target=50, model=str(model), batch=4, seed=seed, options=options)  # type: ignore[arg-type]
    job = jobs.get(db, jobs.enqueue(db, "generate", spec.model_dump(mode="json")))
    live_dir(project, job.id).mkdir(parents=True)
    context = WorkerContext(project, job, db, 0, LiveWriter(project, job.id), lambda: False)
    with pytest.raises(AlpacaError, match="no new instruction"):
        generate.run(context)
    return db.execute("SELECT variables, seed, text FROM completions ORDER BY seed").fetchall()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Of a model this small, sharing the work costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_every_call_can_be_made_again_from_its_row_alone(
    roomy_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32, where a row's text doesn't depend on the rows beside it."""
    monkeypatch.setattr(
        backends, "open_backend", lambda spec, batch, **_: LocalBackend(spec, dtype="float32", max_batch=batch)
    )
    written(tmp_path / "project", roomy_llama_dir, seed=5)
    db = open_project(tmp_path / "project")
    rows = list(db["completions"].rows)
    requests = []
    for row in rows:
        template, variables, files = completions.pack_files(db, row["id"])
        prompt = render(parse_pack(files), template, variables)
        assert hashlib.sha256(prompt.encode()).hexdigest() == row["prompt_hash"]
        params = json.loads(row["params"])
        requests.append(Request(prompt, SamplingParams(**params | {"stop": tuple(params["stop"])}), row["seed"]))
    again = LocalBackend(str(rows[0]["model"]), dtype="float32", max_batch=1).complete(requests)
    assert [(one.text, one.finish_reason) for one in again] == [(row["text"], row["finish_reason"]) for row in rows]


@pytest.mark.usefixtures("one_thread")
def test_a_run_can_be_repeated_to_the_letter(roomy_llama_dir: Path, tmp_path: Path) -> None:
    first = written(tmp_path / "first", roomy_llama_dir, seed=5)
    assert len(first) >= 24
    assert written(tmp_path / "second", roomy_llama_dir, seed=5) == first
    other = written(tmp_path / "third", roomy_llama_dir, seed=6)
    assert not {text for *_, text in other} & {text for *_, text in first if text}
