"""What an endpoint can read is known before a job is made of it, from its own list of models or from config.toml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_tui.backends.endpoint import EndpointBackend
from alpaca_tui.config import EndpointConfig
from alpaca_tui.core.errors import AlpacaError, UsageError
from alpaca_tui.core.records import Request, SamplingParams
from alpaca_tui.jobs import models, spawn
from alpaca_tui.jobs.endpoints import context_length
from alpaca_tui.jobs.packcheck import check_pack
from alpaca_tui.jobs.specs import GenerateSpec
from alpaca_tui.store import jobs, projects
from backends.serving import Proxy, served

KEY = "sk-test-context-0815"


@pytest.fixture(scope="module")
def server(tiny_llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(tiny_llama_dir, tmp_path_factory.mktemp("serve") / "log") as port:
        yield port


@pytest.fixture
def proxy(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A server named ``here`` in the project's config.toml."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = Proxy(server)
    configure(tmp_path, made)
    yield made
    made.close()


@pytest.fixture
def spec(tiny_llama_dir: Path) -> str:
    return f"openai:{tiny_llama_dir}@here"


def configure(project: Path, proxy: Proxy, *lines: str) -> None:
    text = "\n".join(["[endpoints.here]", f'base_url = "{proxy.url}"', *lines])
    (project / "config.toml").write_text(text + "\n")


def test_a_prompt_too_long_for_what_the_server_tells_is_refused_before_a_job_is_made(
    proxy: Proxy, tmp_path: Path, spec: str
) -> None:
    db, _ = projects.ensure(tmp_path)
    proxy.context = 512
    said = rf"stage 'instruction': a prompt can take about \d+ tokens and its answer 512, more than the 512 of {spec}"
    with pytest.raises(UsageError, match=said) as caught:
        spawn.submit(db, tmp_path, "generate", GenerateSpec(target=5, model=spec))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="stage 'output'"):
        check_pack(tmp_path, "self-instruct", "smollm2-135m", None, spec)
    assert jobs.all_jobs(db) == []
    assert proxy.seen == [], "nothing is asked that costs"
    proxy.context = 2048  # as much as a LLaMA of the first generation reads
    assert check_pack(tmp_path, "self-instruct", spec).name == "self-instruct"
    assert check_pack(tmp_path, "alpaca", spec).name == "alpaca", "it writes as many tasks as fit"


def test_the_settings_go_before_what_the_server_tells(proxy: Proxy, tmp_path: Path, spec: str) -> None:
    proxy.context = 100_000
    configure(tmp_path, proxy, "context_length = 300")
    with pytest.raises(UsageError, match="more than the 300 of"):
        check_pack(tmp_path, "self-instruct", spec)
    assert proxy.looked_up == []


def test_where_nobody_tells_nothing_is_refused(proxy: Proxy, tmp_path: Path, spec: str) -> None:
    assert context_length(tmp_path, models.resolve(spec)) is None
    assert check_pack(tmp_path, "self-instruct", spec).name == "self-instruct"
    proxy.context = 512
    assert context_length(tmp_path, models.resolve("openai:another@here")) is None, "it is another model's"
    proxy.close()
    assert context_length(tmp_path, models.resolve(spec)) is None


def test_the_key_is_sent_and_a_missing_one_is_named_before_a_job_is_made(
    proxy: Proxy, tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.key, proxy.context = KEY, 2048
    configure(tmp_path, proxy, 'key_variable = "HERE_KEY"')
    db, _ = projects.ensure(tmp_path)
    with pytest.raises(AlpacaError, match="set the environment variable HERE_KEY"):
        spawn.submit(db, tmp_path, "generate", GenerateSpec(target=5, model=spec))
    assert jobs.all_jobs(db) == []
    monkeypatch.setenv("HERE_KEY", KEY)
    assert context_length(tmp_path, models.resolve(spec)) == 2048


def test_no_more_is_asked_for_than_fits_beside_the_prompt(proxy: Proxy, tiny_llama_dir: Path) -> None:
    settings = EndpointConfig.model_validate({"base_url": proxy.url, "context_length": 400})
    backend = EndpointBackend(str(tiny_llama_dir), settings, 1)
    long, short = "Tell a tale of the sea. " * 20, "Tell."
    asked = {}
    for prompt in (long, short):
        backend.complete([Request(prompt, SamplingParams(max_new_tokens=300), 1)])
        asked[prompt] = proxy.seen[-1]["max_tokens"]
    backend.close()
    assert asked[short] == 300
    assert 64 <= asked[long] <= 400 - backend.count_tokens(long)
