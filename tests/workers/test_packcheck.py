"""A pack's faults come out before a job is made of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alpaca_tui import resources
from alpaca_tui.core.errors import UsageError
from alpaca_tui.core.pack_options import PackOptions
from alpaca_tui.jobs import spawn
from alpaca_tui.jobs.packcheck import check_pack
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import jobs, projects


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A project with a pack of its own, called like the shipped one, which it overrides."""
    shutil.copytree(resources.prompt_packs_dir() / "self-instruct", tmp_path / "prompts" / "self-instruct")
    return tmp_path


def test_the_default_pack_fits_the_embedded_model(tmp_path: Path, embedded_model_dir: Path) -> None:
    assert check_pack(tmp_path, "self-instruct", str(embedded_model_dir)).name == "self-instruct"


def test_a_pack_of_whole_tasks_needs_no_other_stage(tmp_path: Path, embedded_model_dir: Path) -> None:
    assert set(check_pack(tmp_path, "alpaca", str(embedded_model_dir)).stages) == {"instruction", "output"}


def test_a_short_context_writes_fewer_tasks_but_must_hold_some(
    tmp_path: Path, embedded_model_dir: Path, tiny_llama_dir: Path
) -> None:
    short = PackOptions(settings={"instruction.max_new_tokens": 8000})
    assert check_pack(tmp_path, "alpaca", str(embedded_model_dir), short).mode == "fixed"
    with pytest.raises(UsageError, match=r"stage 'instruction': a prompt can take \d+ tokens .* than the 512 of"):
        check_pack(tmp_path, "alpaca", str(tiny_llama_dir))


def test_the_output_models_context_is_checked_too(
    tmp_path: Path, embedded_model_dir: Path, tiny_llama_dir: Path
) -> None:
    with pytest.raises(UsageError, match=r"stage 'output': a prompt can take \d+ tokens .* than the 512 of"):
        check_pack(tmp_path, "alpaca", str(embedded_model_dir), None, str(tiny_llama_dir))


def test_a_prompt_longer_than_the_context_is_refused_with_its_numbers(tmp_path: Path, tiny_llama_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"stage 'instruction': a prompt can take \d+ tokens .* than the 512 of"):
        check_pack(tmp_path, "self-instruct", str(tiny_llama_dir))


def test_the_projects_own_pack_is_the_one_that_is_checked(mine: Path, embedded_model_dir: Path) -> None:
    (mine / "prompts/self-instruct/classification.txt").write_text("{{ instruction }} {{ nonsense }}")
    with pytest.raises(UsageError, match=r"classification\.txt.*nonsense"):
        check_pack(mine, "self-instruct", str(embedded_model_dir))


def test_no_job_is_made_of_a_faulty_or_unknown_pack(mine: Path, embedded_model_dir: Path) -> None:
    db, _ = projects.ensure(mine)
    (mine / "prompts/self-instruct/input_first.txt").unlink()
    for recipe, said in (("self-instruct", "input_first.txt"), ("nobodys", "nobodys")):
        with pytest.raises(UsageError, match=said):
            spawn.submit(db, mine, "generate", GenerateSpec(target=5, recipe=recipe, model=str(embedded_model_dir)))
    assert jobs.all_jobs(db) == []
