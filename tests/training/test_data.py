from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpaca_tui.core.errors import RefusedError
from alpaca_tui.core.masking import IGNORED, Encoded
from alpaca_tui.training.data import (
    PaddedCollator,
    Plan,
    collate_flattened,
    evaluation_batches,
    plan_run,
)


def plan(lengths: list[int], **changes: object) -> Plan:
    settings: dict[str, object] = {
        "global_batch": 8,
        "micro_batch": 2,
        "world_size": 1,
        "epochs": 2.0,
        "max_steps": None,
        "seed": 3,
        "by_length": False,
    }
    return plan_run(lengths, **{**settings, **changes})  # type: ignore[arg-type]


def steps_of(made: Plan) -> list[list[int]]:
    groups = made.accumulation * made.world_size
    return [
        sorted(i for group in made.micro_batches[s * groups : (s + 1) * groups] for i in group)
        for s in range(made.steps)
    ]


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    global_batch=st.integers(1, 20),
    micro_batch=st.integers(1, 6),
    world_size=st.integers(1, 4),
    epochs=st.sampled_from([0.5, 1.0, 3.0]),
    by_length=st.booleans(),
)
def test_every_micro_batch_has_work_and_none_too_much(
    lengths: list[int], global_batch: int, micro_batch: int, world_size: int, epochs: float, by_length: bool
) -> None:
    made = plan(
        lengths,
        global_batch=global_batch,
        micro_batch=micro_batch,
        world_size=world_size,
        epochs=epochs,
        by_length=by_length,
    )
    groups = made.accumulation * world_size
    assert len(made.micro_batches) == made.steps * groups
    assert all(1 <= len(group) <= max(micro_batch, 1) for group in made.micro_batches)
    steps = steps_of(made)
    assert all(len(step) == max(global_batch, groups) for step in steps[:-1])
    assert made.tokens_by_step == tuple(sum(lengths[i] for i in step) for step in steps)
    # No example is seen more than once oftener than another, whatever the borders of steps.
    seen = Counter(i for step in steps for i in step)
    assert max(seen.values()) - min(seen.get(i, 0) for i in range(len(lengths))) <= 1


def test_the_examples_of_a_step_do_not_depend_on_processes_or_micro_batches() -> None:
    lengths = [5 + 3 * (i % 7) for i in range(40)]
    reference = steps_of(plan(lengths))
    assert steps_of(plan(lengths, world_size=2)) == reference
    assert steps_of(plan(lengths, micro_batch=4)) == reference
    assert steps_of(plan(lengths, by_length=True)) == reference
    assert steps_of(plan(lengths, seed=4)) != reference


def test_each_pass_sees_every_example_once_in_another_order() -> None:
    made = plan([1] * 16, epochs=2.0)
    steps = steps_of(made)
    assert sorted(steps[0] + steps[1]) == sorted(steps[2] + steps[3]) == list(range(16))
    assert steps[0] != steps[2]


def test_max_steps_wins_over_epochs() -> None:
    assert plan([1] * 5, max_steps=7, epochs=1.0).steps == 7


def test_tokens_are_spread_evenly_over_micro_batches() -> None:
    lengths = [100, 90, 80, 70, 12, 9, 6, 3]
    made = plan(lengths, max_steps=1)
    loads = [sum(lengths[i] for i in group) for group in made.micro_batches]
    assert max(loads) <= 103 and min(loads) >= 82


def test_without_examples_a_run_is_refused() -> None:
    with pytest.raises(RefusedError, match="no example"):
        plan([])


def test_evaluation_takes_every_example_once() -> None:
    examples = [Encoded(tuple(range(n)), 1, False) for n in (3, 9, 4, 7, 2)]
    batches = evaluation_batches(examples, 2)
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4]
    assert batches[0] == (1, 3)


EXAMPLES = [
    Encoded((10, 11, 12, 13, 2), 2, False),
    Encoded((20, 21, 2), 0, False),  # without a prompt: the first token has nothing to be predicted from
    Encoded((30, 31, 32, 33, 34, 35), 5, True),
]


def test_padded_batch_asks_for_what_shifted_labels_would() -> None:
    batch = PaddedCollator(pad_id=0)(EXAMPLES)
    shifted: list[int] = []
    for example in EXAMPLES:
        shifted += [label for label in example.labels[1:] if label != IGNORED]
    assert batch["labels"].tolist() == shifted
    assert batch["logits_to_keep"].sum() == len(shifted)
    assert batch["input_ids"].shape == (3, 6)
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 3, 6]
    assert batch["input_ids"][1].tolist() == [20, 21, 2, 0, 0, 0]


def test_flattened_batch_holds_no_padding_and_the_same_labels() -> None:
    batch = collate_flattened(EXAMPLES)
    padded = PaddedCollator(pad_id=0)(EXAMPLES)
    assert batch["input_ids"].shape == (1, 14)
    assert batch["sequence_lengths"] == [5, 3, 6]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4, 5]]
    assert torch.equal(batch["labels"], padded["labels"])
    # Each kept place is one before the token it predicts.
    row = batch["input_ids"][0]
    assert torch.equal(row[batch["logits_to_keep"] + 1], batch["labels"])
