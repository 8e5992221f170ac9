"""Which state may follow which."""

from __future__ import annotations

from typing import get_args

import pytest

from alpaca_tui.core.jobstates import ACTIVE, NEXT, RESUMABLE, JobState, may_follow

STATES = get_args(JobState)


def test_every_state_has_its_followers_and_no_other_state_exists() -> None:
    assert set(NEXT) == set(STATES)
    assert all(followers <= set(STATES) for followers in NEXT.values())


def test_every_job_can_come_to_an_end_from_wherever_it_is() -> None:
    for state in ACTIVE:
        assert may_follow(state, "interrupted") and may_follow(state, "failed") and may_follow(state, "stopped")


@pytest.mark.parametrize("state", sorted(set(STATES) - ACTIVE))
def test_an_ended_job_changes_only_by_being_queued_again(state: str) -> None:
    allowed = {following for following in STATES if may_follow(state, following)}
    assert allowed == ({"queued"} if state in RESUMABLE else set())


def test_success_needs_a_run() -> None:
    assert {state for state in STATES if may_follow(state, "succeeded")} == {"running", "stopping"}
    assert not may_follow("stopping", "running")
