"""The life of a run, as one table. Nobody else compares states to decide what is legal.

    accepted -> delayed -> queued -> started -> succeeded | failed | cancelled
                             ^          |-----> retrying -> queued
                             |          '-----> lost     -> queued, or dead at the third time

A terminal state never changes. A run may be cancelled wherever it waits: on request, because it expired,
or because a rule skipped it. `failed` from `queued` is a pipeline that cannot be loaded.
"""

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """Where a run is in its life."""

    ACCEPTED = "accepted"
    DELAYED = "delayed"
    QUEUED = "queued"
    STARTED = "started"
    RETRYING = "retrying"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


_S = RunState

TRANSITIONS: Final[dict[RunState, frozenset[RunState]]] = {
    _S.ACCEPTED: frozenset({_S.DELAYED, _S.QUEUED, _S.CANCELLED}),
    _S.DELAYED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.STARTED, _S.CANCELLED}),
    _S.STARTED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.RETRYING, _S.LOST}),
    _S.RETRYING: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.LOST: frozenset({_S.QUEUED, _S.DEAD, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.DEAD: frozenset(),
}

TERMINAL: Final = frozenset(state for state, after in TRANSITIONS.items() if not after)


class IllegalTransitionError(ValueError):
    """A run was asked to go where its life does not lead."""

    def __init__(self, before: RunState, after: RunState) -> None:
        super().__init__(f"A run that is {before} cannot become {after}.")


def move(before: RunState, after: RunState) -> RunState:
    """Return `after` when a run may go there from `before`; raise and change nothing otherwise."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(before, after)
    return after
