"""When a run came into which state: one moment for each state of each attempt, whatever order they are told in."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from fpbus.schemas import Moment, RunResult, RunState, RunStatus

Timeline = tuple[Moment, ...]

#: Of a run that is tried again and again the latest moments are kept.
_MOST: Final = 64
_RANK: Final = {state: rank for rank, state in enumerate(RunState)}


def timeline_of_status(status: RunStatus) -> Timeline:
    moment = Moment(
        at=status.at, state=status.state, attempt=status.attempt, runner=status.runner, reason=status.reason
    )
    return (moment,)


def timeline_of_result(result: RunResult) -> Timeline:
    """Return what a result alone tells: enough for one whose other events were lost."""
    return tuple(_moments(result))


def join_timelines(one: Timeline, other: Timeline) -> Timeline:
    """Put two together. It does not matter which is which, or how often it is done."""
    if one == other:
        return one
    moments: dict[tuple[int, int], Moment] = {}
    for moment in (*one, *other):
        place = (moment.attempt, _RANK[moment.state])
        known = moments.get(place)
        moments[place] = moment if known is None else _same(known, moment)
    return tuple(moments[place] for place in sorted(moments)[-_MOST:])


def _moments(result: RunResult) -> Iterator[Moment]:
    yield Moment(at=result.accepted_at, state=RunState.ACCEPTED)
    if result.started_at is not None:
        yield Moment(at=result.started_at, state=RunState.STARTED, attempt=result.attempt, runner=result.runner)
    yield Moment(at=result.finished_at, state=result.state, attempt=result.attempt)


def _same(one: Moment, other: Moment) -> Moment:
    """Join what was told twice: the first time, and of two texts the smaller one."""
    if one == other:
        return one
    return replace(
        one, at=min(one.at, other.at), runner=_least(one.runner, other.runner), reason=_least(one.reason, other.reason)
    )


def _least(one: str | None, other: str | None) -> str | None:
    return min(filter(None, (one, other)), default=None)
