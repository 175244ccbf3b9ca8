"""The life of a run, walked from end to end."""

from itertools import product

import pytest

from fpbus.schemas import TERMINAL, TRANSITIONS, IllegalTransitionError, RunState, move

ALL = list(RunState)


def test_every_state_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(RunState)


def test_the_terminal_states_are_those_of_the_contract() -> None:
    assert {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.DEAD} == TERMINAL


@pytest.mark.parametrize(
    ("before", "after"), [(before, after) for before, after in product(ALL, ALL) if after in TRANSITIONS[before]]
)
def test_a_run_may_go_where_the_table_leads(before: RunState, after: RunState) -> None:
    assert move(before, after) is after


@pytest.mark.parametrize(
    ("before", "after"), [(before, after) for before, after in product(ALL, ALL) if after not in TRANSITIONS[before]]
)
def test_a_run_may_go_nowhere_else(before: RunState, after: RunState) -> None:
    with pytest.raises(IllegalTransitionError, match=f"A run that is {before} cannot become {after}."):
        move(before, after)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_terminal_state_never_changes(state: RunState) -> None:
    assert not TRANSITIONS[state]


def test_every_state_can_be_reached_from_accepted() -> None:
    reached = _reachable_from(RunState.ACCEPTED)

    assert reached == set(RunState)


@pytest.mark.parametrize("state", ALL)
def test_every_run_can_come_to_an_end(state: RunState) -> None:
    assert _reachable_from(state) & TERMINAL


@pytest.mark.parametrize("state", sorted(set(ALL) - TERMINAL))
def test_a_run_can_be_cancelled_wherever_it_is(state: RunState) -> None:
    assert RunState.CANCELLED in TRANSITIONS[state]


def test_only_a_run_that_is_lost_can_be_dead() -> None:
    assert [state for state in ALL if RunState.DEAD in TRANSITIONS[state]] == [RunState.LOST]


def test_a_state_is_written_as_its_name() -> None:
    assert f"{RunState.SUCCEEDED}" == "succeeded"


def _reachable_from(start: RunState) -> set[RunState]:
    reached, new = {start}, {start}
    while new:
        new = {after for state in new for after in TRANSITIONS[state]} - reached
        reached |= new
    return reached
