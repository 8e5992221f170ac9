"""The local backend against transformers' own generation, on a random LLaMA and on the embedded model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpaca_tui.backends import memory
from alpaca_tui.backends.decode import Decoder
from alpaca_tui.backends.detokenize import StreamText
from alpaca_tui.backends.local import LocalBackend, load_model
from alpaca_tui.backends.logits import Sampler, full_draw, nucleus_draw
from alpaca_tui.backends.prefixes import common_prefix
from alpaca_tui.core.errors import AlpacaError, Cancelled, UsageError
from alpaca_tui.core.records import Completion, Request, SamplingParams
from random_models import greedy_reference, save_random

SHARED = "Come up with a series of tasks:\n" + "".join(
    f"Task {number}: Write one line about the number {number}.\n" for number in range(1, 9)
)
ENDINGS = ["Task 9:", "Task 9: Explain how rain is made", "Task 9: Give three", "Task 9: What is 12 + 30?"]
PROMPTS = [SHARED + ending for ending in ENDINGS] + ["Once upon a time", "The capital of France is"]


def greedy(tokens: int, **other: Any) -> SamplingParams:
    return SamplingParams(max_new_tokens=tokens, **other)


def texts(backend: LocalBackend, prompts: Sequence[str], params: SamplingParams) -> list[str]:
    requests = [Request(prompt, params, seed) for seed, prompt in enumerate(prompts)]
    return [completion.text for completion in backend.complete(requests)]


@pytest.fixture(scope="module")
def tiny(tiny_llama_dir: Path) -> LocalBackend:
    return LocalBackend(tiny_llama_dir, dtype="float32", max_batch=8)


@pytest.fixture(scope="module")
def tiny_expected(tiny_llama_dir: Path) -> list[str]:
    return [greedy_reference(tiny_llama_dir, prompt, 24) for prompt in PROMPTS]


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("max_batch", [1, 3, 8])
def test_greedy_text_is_that_of_transformers(
    tiny_llama_dir: Path, tiny_expected: list[str], share_prefix: bool, max_batch: int
) -> None:
    """Alone, in a batch, with rows taking the place of finished ones; with and without a prefix read once."""
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=max_batch, share_prefix=share_prefix)
    assert texts(backend, PROMPTS, greedy(24)) == tiny_expected
    assert texts(backend, PROMPTS[:4], greedy(24)) == tiny_expected[:4]
    assert texts(backend, PROMPTS[1:3], greedy(24)) == tiny_expected[1:3], "the prefix of an earlier call"
    assert [texts(backend, [prompt], greedy(24))[0] for prompt in PROMPTS] == tiny_expected


def test_the_embedded_model_says_what_transformers_makes_it_say(embedded_model_dir: Path) -> None:
    backend = LocalBackend(embedded_model_dir, dtype="float32", max_batch=4)
    prompts = PROMPTS[1:4]
    assert texts(backend, prompts, greedy(12)) == [
        greedy_reference(embedded_model_dir, prompt, 12) for prompt in prompts
    ]
    assert texts(backend, [PROMPTS[5]], greedy(3))[0].startswith(" Paris")


def count_forwards(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Records the rows and the tokens of every forward pass from now on."""
    passes: list[tuple[int, int]] = []
    forward = Decoder._logits

    def counted(self: Decoder, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        logits = forward(self, tokens, *rest)
        passes.append((len(logits), len(tokens)))
        return logits

    monkeypatch.setattr(Decoder, "_logits", counted)
    return passes


def test_what_prompts_share_is_read_once_and_kept(tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4)
    passes = count_forwards(backend, monkeypatch)
    texts(backend, PROMPTS[:4], greedy(1))
    shared = backend.count_tokens(SHARED)
    prefix, suffixes = passes
    assert prefix[0] == 1
    assert prefix[1] >= shared
    assert suffixes[0] == 4
    assert suffixes[1] < 4 * 16
    passes.clear()
    texts(backend, PROMPTS[:4], greedy(1))
    texts(backend, [PROMPTS[2]], greedy(1))
    assert sum(tokens for _, tokens in passes) < shared, "nothing shared is read again"


def test_single_calls_share_with_each_other(tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="float32")
    passes = count_forwards(backend, monkeypatch)
    for prompt in PROMPTS[:4]:
        texts(backend, [prompt], greedy(1))
    read = sum(tokens for _, tokens in passes)
    # The second shows what the first shared with it; from the third on it is known.
    assert read < 3.2 * backend.count_tokens(SHARED)


def test_prefixes_are_kept_for_a_recipe_s_templates_only(tiny: LocalBackend) -> None:
    for stage in ("one", "two", "three", "four"):
        start = " ".join([stage] * 90)
        texts(tiny, [f"{start} a", f"{start} b"], greedy(1))
    assert tiny._decoder.prefixes is not None and len(tiny._decoder.prefixes) == 3


def test_finished_rows_leave_and_others_take_their_place(tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4, share_prefix=False)
    passes = count_forwards(backend, monkeypatch)
    prompts = ["One", "Two", "Three", "Four", "Five", "Six"]
    lengths = [3, 3, 30, 3, 3, 12]
    requests = [Request(prompt, greedy(tokens), 0) for prompt, tokens in zip(prompts, lengths, strict=True)]
    completions = backend.complete(requests)
    steps = [rows for rows, tokens in passes if tokens == rows]
    assert max(steps) == 4
    assert steps[-1] == 1
    by_itself = [backend.complete([request])[0].text for request in requests]
    assert [completion.text for completion in completions] == by_itself
    assert [completion.completion_tokens for completion in completions] == lengths


def test_padding_leaves_with_the_row_that_needed_it(tiny_llama_dir: Path, tiny_expected: list[str]) -> None:
    """The longest prompt is answered first; the columns that only it filled go, and nobody's text changes."""
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4, share_prefix=False)
    short = [Request(PROMPTS[at], greedy(24), 0) for at in (4, 5)]
    completions = backend.complete([Request(PROMPTS[1], greedy(2), 0), *short])
    assert [completion.text for completion in completions[1:]] == tiny_expected[4:6]


def test_padding_holds_zeros_and_never_what_was_in_memory(tiny_llama_dir: Path) -> None:
    """NaN under a mask still spreads, so new memory is filled with NaN here."""
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4, share_prefix=False)
    lengths = (2, 2, 9, 12, 8, 20)
    requests = [Request("a " * (5 * at + 1), greedy(length), 0) for at, length in enumerate(lengths)]
    expected = [completion.text for completion in backend.complete(requests)]
    torch.use_deterministic_algorithms(True)
    try:
        assert [completion.text for completion in backend.complete(requests)] == expected
    finally:
        torch.use_deterministic_algorithms(False)


def test_completions_come_in_the_order_of_the_requests(tiny: LocalBackend) -> None:
    requests = [Request("a " * count, greedy(2), 0) for count in (5, 90, 1, 40, 200)]
    completions = tiny.complete(requests)
    assert [c.prompt_tokens for c in completions] == [tiny.count_tokens(r.prompt) for r in requests]
    assert tiny.complete([]) == []


def test_a_completion_counts_and_says_why_it_ended(embedded_model_dir: Path) -> None:
    backend = LocalBackend(embedded_model_dir, dtype="float32")
    chat = "<|im_start|>user\nReply with one word: hello<|im_end|>\n<|im_start|>assistant\n"
    ended, cut = backend.complete([Request(chat, greedy(200), 0), Request("1, 2, 3, 4,", greedy(5), 0)])
    assert ended.finish_reason == "eos"
    assert "<|im_end|>" not in ended.text
    assert ended.completion_tokens == backend.count_tokens(ended.text) + 1  # the end-of-sequence token was computed
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 5)
    assert cut.text.startswith(" 5")
    assert cut.prompt_tokens == backend.count_tokens("1, 2, 3, 4,")
    assert cut.seconds > 0


def test_a_beginning_token_in_the_prompt_is_not_doubled(tiny: LocalBackend) -> None:
    assert tiny._encode("<|im_start|>user\nHi")[:2] != [1, 1]


def test_stop_strings_end_a_text_wherever_tokens_split_them(embedded_model_dir: Path) -> None:
    backend = LocalBackend(embedded_model_dir, dtype="float32")
    prompt = "Count: one, two, three, four,"
    whole = texts(backend, [prompt], greedy(12))[0]
    assert whole.startswith(" five, six, seven")
    for stop in (", six", "x, sev", "ive", "nowhere"):
        params = greedy(12, stop=(stop, "never this"))
        completion = backend.complete([Request(prompt, params, 0)])[0]
        assert completion.text == whole.partition(stop)[0]
        assert completion.finish_reason == ("stop" if stop in whole else "length")
    # The first occurrence of any of them counts, not the first in the list.
    assert texts(backend, [prompt], greedy(12, stop=("seven", "six")))[0] == " five, "


def decoder_of(pieces: list[bytes]) -> Callable[[list[int]], str]:
    return lambda ids: b"".join(pieces[i] for i in ids).decode("utf-8", "replace")


def test_no_half_character_is_ever_shown() -> None:
    """Characters of two to four bytes, one byte a token."""
    text = "né 日本 🦙!"
    pieces = [bytes([byte]) for byte in text.encode()] + [b"x"]
    stream = StreamText(decoder_of(pieces), [len(pieces) - 1], ())
    for token in range(len(pieces) - 1):
        stream.push(token)
        assert text.startswith(stream.text)
    assert stream.finish() == text


def test_a_character_cut_off_by_the_length_is_dropped() -> None:
    pieces = [b"ok ", *(bytes([byte]) for byte in "🦙".encode())]
    stream = StreamText(decoder_of(pieces), [], ())
    for token in (0, 1, 2):
        stream.push(token)
    assert stream.finish() == "ok "


def test_bytes_that_are_no_text_do_not_hold_the_rest_back() -> None:
    pieces = [b"\xff", b"a", b"END"]
    stream = StreamText(decoder_of(pieces), [], ("END",))
    assert [stream.push(token) for token in [0] * 30 + [1, 2]] == [False] * 31 + [True]
    assert stream.finish() == "\ufffd" * 30 + "a"


def test_a_stop_string_may_span_held_back_bytes() -> None:
    pieces = ["日"[0].encode()[:1], "日".encode()[1:], b"b"]
    stream = StreamText(decoder_of(pieces), [], ("日b",))
    assert [stream.push(token) for token in (2, 0, 1, 2)] == [False, False, False, True]
    assert stream.text == "b"


ONCE = ("\nOutput:", "\nInput:", "\nExample ")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\nOutput: b\nOutput: c\nInput: d", "a\nOutput: b"),
        ("a\nOutput: b\nInput: c\nOutput: d\nExample 3\nOutput: e\nOutput: f", None),
        ("a\nOutput: b\nExample 2\nOutput: c\nOutput: d", "a\nOutput: b\nExample 2\nOutput: c"),
        ("a\nOutput: b Output: c", None),
        ("\nOutput:\nOutput:", "\nOutput:"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_field_that_an_item_has_once_ends_the_text_at_its_second(text: str, kept: str | None, size: int) -> None:
    """Wherever tokens part the text; without ``once`` all of it stays."""
    pieces = [text[at : at + size].encode() for at in range(0, len(text), size)]
    for once in (ONCE, ()):
        stream = StreamText(decoder_of(pieces), [], (), once)
        for token in range(len(pieces)):
            if stream.push(token):
                break
        if once and text.endswith("f"):
            assert stream.finish() == text[: text.index("\nOutput: f")]
        else:
            assert stream.finish() == (kept if once and kept is not None else text)
        assert stream.stopped_by == (ONCE[0] if stream.stopped else None)


def sampler(params: SamplingParams, vocab: int, generated: Sequence[int] = (), seed: int = 0) -> Sampler:
    generator = torch.Generator().manual_seed(seed)
    return Sampler([params], [generator], [generated], torch.device("cpu"), vocab)


def test_the_presence_penalty_is_paid_once_per_token_already_generated() -> None:
    drawer = sampler(greedy(9, presence_penalty=1.5), 4, generated=[3, 3, 3])
    logits = torch.tensor([[2.0, 3.0, 0.0, 4.0]])
    # Token 3 stands at 4 − 1.5, however often it came before; then 1 pays as well.
    assert [int(drawer.draw(logits)) for _ in range(4)] == [1, 3, 3, 3]
    free = sampler(greedy(9), 4, generated=[3, 3, 3])
    assert int(free.draw(logits)) == 3


def test_tokens_of_the_prompt_are_not_penalised(tiny: LocalBackend) -> None:
    prompt = "The sun, the moon, the stars"
    plain = texts(tiny, [prompt], greedy(1))
    next_ids = tiny.tokenizer(plain[0], add_special_tokens=False)["input_ids"]
    prompt += plain[0]
    assert next_ids[0] in tiny._encode(prompt)
    assert texts(tiny, [prompt], greedy(1, presence_penalty=50.0)) == texts(tiny, [prompt], greedy(1))


def test_a_penalty_outlives_the_rows_beside_it(tiny: LocalBackend) -> None:
    """A strong penalty forbids every repetition, a strong reward forbids all else, to the last token."""
    varied = Request("la la la la", greedy(40, presence_penalty=1e4), 0)
    repeated = Request("la la la la", greedy(40, presence_penalty=-1e4), 0)
    seen: dict[int, list[int]] = {}
    original = tiny._decoder._draw

    def spy(rows: list[Any], *rest: Any) -> torch.Tensor:
        tokens = original(rows, *rest)
        for row in rows:
            seen[row.index] = list(row.ids)
        return tokens

    tiny._decoder._draw = spy  # type: ignore[method-assign]
    try:
        tiny.complete([varied, repeated, Request("gone soon", greedy(5), 0)])
    finally:
        del tiny._decoder._draw  # type: ignore[method-assign]
    assert len(set(seen[0])) == 40
    assert len(set(seen[1])) == 1


def test_a_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.25])
    logits = probabilities.log().repeat(1000, 1)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for top_p, allowed in ((0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3})):
        drawn = Counter(nucleus_draw(logits, torch.full((1000,), top_p), uniform).tolist())
        assert set(drawn) == allowed
        mass = sum(float(probabilities[token]) for token in allowed)
        for token, count in drawn.items():
            assert count / 1000 == pytest.approx(float(probabilities[token]) / mass, abs=2e-3)


def test_the_whole_distribution_is_drawn_from_without_a_nucleus() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.0, 0.25])
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = Counter(full_draw(probabilities.log().repeat(1000, 1), uniform).tolist())
    assert drawn == {0: 100, 1: 500, 2: 150, 4: 250}


def test_a_nucleus_wider_than_the_shortlist_is_drawn_from_whole() -> None:
    logits = torch.zeros(3, 5000)
    logits[1, 7] = 30.0
    uniform = torch.tensor([0.99995, 0.99995, 0.5], dtype=torch.float64)
    flat, peaked, half = nucleus_draw(logits, torch.tensor([0.9, 0.9, 0.5]), uniform).tolist()
    assert (flat, peaked, half) == (4499, 7, 1250)


def test_sampling_follows_the_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    for temperature in (0.5, 1.0, 2.0):
        drawer = sampler(SamplingParams(temperature=temperature), 3, seed=1)
        counts = Counter(int(drawer.draw(logits)) for _ in range(4000))
        expected = torch.softmax(logits[0] / temperature, dim=-1)
        for token in range(3):
            assert counts[token] / 4000 == pytest.approx(float(expected[token]), abs=0.03)


def test_a_temperature_near_zero_is_greedy() -> None:
    drawer = sampler(SamplingParams(temperature=1e-300, top_p=0.9), 3)
    assert int(drawer.draw(torch.tensor([[50.0, 51.0, -50.0]]))) == 1


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(tiny: LocalBackend) -> None:
    params = SamplingParams(temperature=1.0, top_p=0.95, presence_penalty=1.0, max_new_tokens=16)
    requests = [Request(prompt, params, seed) for seed, prompt in enumerate(PROMPTS)]
    together = [completion.text for completion in tiny.complete(requests)]
    assert [completion.text for completion in tiny.complete(requests)] == together
    assert [tiny.complete([request])[0].text for request in requests] == together
    backwards = [completion.text for completion in tiny.complete(requests[::-1])]
    assert backwards[::-1] == together
    other = tiny.complete([Request(PROMPTS[0], params, 99), Request(PROMPTS[0], params, 2**64 + 5)])
    assert len({together[0], other[0].text, other[1].text}) == 3


@pytest.mark.parametrize("prompt", [PROMPTS[0], "Is this a question? Answer:"])
def test_choices_carry_the_log_probability_of_their_first_token(embedded_model_dir: Path, prompt: str) -> None:
    backend = LocalBackend(embedded_model_dir, dtype="float32")
    choices = (" Yes", " No", " Perhaps not")
    requests = [Request(prompt, greedy(1), 0, choices), Request(PROMPTS[1], greedy(1), 0)]
    answered, plain = backend.complete(requests)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir)
    model = AutoModelForCausalLM.from_pretrained(embedded_model_dir, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
    expected = torch.log_softmax(logits, dim=-1)[[tokenizer(choice)["input_ids"][0] for choice in choices]]
    assert answered.choice_logprobs == pytest.approx(expected.tolist(), abs=1e-3)
    assert plain.choice_logprobs is None


def test_choices_that_begin_alike_are_refused(tiny: LocalBackend) -> None:
    with pytest.raises(UsageError, match="begin with the same token"):
        tiny.complete([Request("Well?", greedy(1), 0, (" Yes indeed", " Yes"))])
    with pytest.raises(UsageError, match="must not be empty"):
        tiny.complete([Request("Well?", greedy(1), 0, ("",))])


def test_a_prompt_longer_than_the_context_is_refused_with_its_tokens(tiny: LocalBackend) -> None:
    prompt = "word " * 600
    with pytest.raises(UsageError, match=rf"prompt 1 has {tiny.count_tokens(prompt)} tokens, .* at most 511"):
        tiny.complete([Request("short", greedy(4), 0), Request(prompt, greedy(4), 0)])


def test_an_answer_ends_with_the_context(tiny: LocalBackend) -> None:
    prompt = "word " * 499
    completion = tiny.complete([Request(prompt, greedy(400, presence_penalty=1e4), 0)])[0]
    assert completion.prompt_tokens + completion.completion_tokens == 512
    assert completion.finish_reason == "length"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (SamplingParams(temperature=-1), "temperature"),
        (SamplingParams(temperature=float("nan")), "temperature"),
        (SamplingParams(top_p=0), "top-p"),
        (SamplingParams(top_p=1.1), "top-p"),
        (SamplingParams(presence_penalty=float("inf")), "presence penalty"),
        (SamplingParams(max_new_tokens=0), "max_new_tokens"),
        (SamplingParams(stop=("a", "")), "stop string"),
    ],
)
def test_parameters_out_of_range_are_refused(tiny: LocalBackend, params: SamplingParams, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        tiny.complete([Request("x", params, 0)])


def test_a_stop_is_heeded_before_the_next_step_and_keeps_what_is_done(tiny: LocalBackend) -> None:
    asked = 0
    done: dict[int, Completion] = {}

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 10

    requests = [Request("a", greedy(3), 0), Request("b", greedy(300, presence_penalty=1e4), 0)]
    with pytest.raises(Cancelled):
        tiny.complete(requests, cancelled=cancelled, on_done=lambda index, completion: done.update({index: completion}))
    assert asked == 11
    assert list(done) == [0]
    assert done[0].text == tiny.complete([requests[0]])[0].text


def test_text_is_shown_as_it_grows(tiny: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpaca_tui.backends.local.TEXT_INTERVAL", 0.0)
    shown: dict[int, list[tuple[str, int]]] = {0: [], 1: []}
    requests = [Request("a", greedy(12), 0), Request("b", greedy(12), 0)]
    completions = tiny.complete(requests, on_text=lambda index, text, tokens: shown[index].append((text, tokens)))
    for index, completion in enumerate(completions):
        assert [tokens for _, tokens in shown[index]] == list(range(1, 12))
        assert all(completion.text.startswith(text) for text, _ in shown[index])


def test_text_is_not_shown_more_often_than_asked(tiny: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("alpaca_tui.backends.local.time.monotonic", lambda: next(clock) / 100)
    calls: list[int] = []
    tiny.complete([Request("a", greedy(200, presence_penalty=1e4), 0)], on_text=lambda *call: calls.append(call[2]))
    # The clock moves 0.01 s with every look at it, so far fewer calls than tokens come through.
    assert 5 < len(calls) < 40


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_batch_that_does_not_fit_is_halved_for_good(
    tiny_llama_dir: Path, tiny_expected: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The allocation fails for every pass of more than three rows, in the middle of decoding too."""
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=8)
    forward = Decoder._logits
    refused = 0

    def limited(self: Decoder, tokens: torch.Tensor, positions: torch.Tensor, cache: Any, *rest: Any) -> torch.Tensor:
        nonlocal refused
        if len(cache.groups[0]) > 3 and cache.longest() > 12:
            refused += 1
            raise error
        return forward(self, tokens, positions, cache, *rest)

    monkeypatch.setattr(Decoder, "_logits", limited)
    finished: list[int] = []
    requests = [Request(prompt, greedy(24), 0) for prompt in PROMPTS]
    completions = backend.complete(requests, on_done=lambda index, _: finished.append(index))
    assert [completion.text for completion in completions] == tiny_expected
    assert sorted(finished) == list(range(len(PROMPTS))), "each exactly once"
    assert (refused, backend.max_batch) == (2, 2)
    backend.complete(requests)
    assert refused == 2, "the size that fits is remembered"


def test_a_single_row_that_does_not_fit_is_an_error(tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="float32", max_batch=4)

    def never_fits(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Decoder, "_logits", never_fits)
    with pytest.raises(AlpacaError, match="cpu ran out of memory with a batch of one"):
        backend.complete([Request("a", greedy(1), 0)])


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert memory.is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"))
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_model_that_computes_nan_is_an_error(tiny_llama_dir: Path) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="float32")
    backend.model.lm_head.weight[5, 0] = float("nan")
    with pytest.raises(AlpacaError, match="computes NaN in float32"):
        backend.complete([Request("a", greedy(1), 0)])


def test_the_number_type_is_chosen_or_named() -> None:
    cpu = torch.device("cpu")
    assert memory.choose_dtype("float16", cpu) is torch.float16
    assert memory.choose_dtype(None, cpu) in (torch.bfloat16, torch.float32)
    with pytest.raises(UsageError, match="unknown dtype 'int4': choose float32, bfloat16, float16"):
        memory.choose_dtype("int4", cpu)


def test_half_precision_completes_too(tiny_llama_dir: Path) -> None:
    backend = LocalBackend(tiny_llama_dir, dtype="bfloat16", max_batch=4)
    completions = backend.complete([Request(prompt, greedy(8), 0) for prompt in PROMPTS])
    assert all(completion.completion_tokens == 8 for completion in completions)


def test_an_adapter_is_merged(tiny_llama_dir: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_llama_dir, dtype=torch.float32),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    tuned.save_pretrained(tmp_path / "adapter")
    backend = LocalBackend(tiny_llama_dir, dtype="float32", adapter=tmp_path / "adapter")
    assert backend.name == "adapter"
    tuned.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert texts(backend, PROMPTS[:2], greedy(12)) != [
        greedy_reference(tiny_llama_dir, prompt, 12) for prompt in PROMPTS[:2]
    ]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "merged" / name).write_bytes((tiny_llama_dir / name).read_bytes())
    expected = [greedy_reference(tmp_path / "merged", prompt, 12) for prompt in PROMPTS[:2]]
    assert texts(backend, PROMPTS[:2], greedy(12)) == expected


def test_an_adapter_is_merged_before_the_weights_are_rounded(tiny_llama_dir: Path, tmp_path: Path) -> None:
    """In bf16 the tuned model stays close to the fp32 model with its adapter beside it."""
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(tiny_llama_dir, dtype=torch.float32)
    ids = torch.arange(100, 140)[None]
    with torch.inference_mode():
        untuned = base(ids).logits
    torch.manual_seed(1)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    _, model = load_model(tiny_llama_dir, torch.bfloat16, torch.device("cpu"), tmp_path / "adapter")
    with torch.inference_mode():
        expected = tuned.eval()(ids).logits
        got = model(ids).logits.float()
    assert (got - expected).norm() < 0.1 * (expected - untuned).norm()

    merged = dict(tuned.merge_and_unload().named_parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, merged[name].bfloat16()), name
    # What from_pretrained keeps in fp32 is no weight, and stays so.
    assert model.model.rotary_emb.inv_freq.dtype is torch.float32


def test_the_type_on_a_cpu_follows_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (("fma avx2 avx512f", torch.float32), ("avx512f avx512_bf16", torch.bfloat16)):
        monkeypatch.setattr(memory.Path, "read_text", lambda *_, said=flags, **__: f"flags : {said}\n")
        assert memory.choose_dtype(None, torch.device("cpu")) is expected


def test_a_sliding_window_bounds_the_context(tmp_path: Path, tiny_llama_dir: Path) -> None:
    """Within the window, windowed attention is whole attention: the same text as transformers' own."""

    save_random(tmp_path, tiny_llama_dir, "Mistral", seed=1, sliding_window=160)
    backend = LocalBackend(tmp_path, dtype="float32")
    assert backend.context_length == 160
    prompts = [" ".join(SHARED.split()[:40]) + end for end in (" one", " and two")]
    assert texts(backend, prompts, greedy(10)) == [greedy_reference(tmp_path, prompt, 10) for prompt in prompts]


def test_a_directory_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(AlpacaError, match=r"the model in .* cannot be loaded: ") as raised:
        LocalBackend(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_closed_backend_gives_its_memory_back(tiny_llama_dir: Path) -> None:
    import weakref

    backend = LocalBackend(tiny_llama_dir, dtype="float32")
    texts(backend, PROMPTS[:2], greedy(2))
    model = weakref.ref(backend.model)
    backend.close()
    assert model() is None


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [([[1, 2, 3], [1, 2, 4]], 2), ([[1, 2], [1, 2, 3]], 1), ([[5]], 0), ([[1, 2, 3]], 2), ([[1], [2]], 0)],
)
def test_a_common_prefix_leaves_every_prompt_a_token(prompts: list[list[int]], shared: int) -> None:
    assert common_prefix(prompts) == shared
