"""The folding of events into rows, alone and through the table of runs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fpbus.bus import Delivery
from fpbus.recorder import history
from fpbus.recorder.database import metadata
from fpbus.recorder.handlers import RunRow, fold, latest, read_event, receipts
from fpbus.recorder.pace import Pace
from fpbus.schemas import (
    FailureCode,
    LogLine,
    Output,
    Receipt,
    RunError,
    RunRequest,
    RunResult,
    RunState,
    RunStatus,
    WireError,
    encode,
    topics,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
Event = RunStatus | RunResult


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def accepted(seconds: float = 0.0, *, duplicate: bool = False, run_state: RunState | None = None) -> RunStatus:
    return RunStatus(
        run_id="r1",
        pipeline="p",
        state=RunState.ACCEPTED,
        at=at(seconds),
        duplicate=duplicate,
        run_state=run_state,
        key="boiler-7",
        traceparent="00-a",
    )


def started(attempt: int = 1) -> RunStatus:
    when, runner = at(attempt), f"edge/{attempt}"
    return RunStatus(run_id="r1", pipeline="p", state=RunState.STARTED, at=when, attempt=attempt, runner=runner)


def retrying(attempt: int = 1) -> RunStatus:
    return RunStatus(run_id="r1", pipeline="p", state=RunState.RETRYING, at=at(attempt + 0.5), attempt=attempt)


def ended(attempt: int = 1, state: RunState = RunState.SUCCEEDED, *, ran: bool = True) -> RunResult:
    return RunResult(
        run_id="r1",
        pipeline="p",
        state=state,
        attempt=attempt,
        accepted_at=NOON,
        started_at=at(attempt) if ran else None,
        finished_at=at(attempt + 0.25),
        runner=f"edge/{attempt}" if ran else None,
        key="boiler-7",
        outputs={"alarm": Output(json=True)} if state is RunState.SUCCEEDED else {},
        traceparent="00-a",
        log=[LogLine(at=at(attempt), level="info", text=f"attempt {attempt}")] if ran else [],
    )


def row_of(*events: Event) -> RunRow:
    (row,) = fold({}, events).rows
    return row


def a_delivery(event: Event, topic: str | None = None) -> Delivery:
    topic_of = topics.result if isinstance(event, RunResult) else topics.status
    topic = topic or topic_of(event.pipeline, event.run_id)
    return Delivery(topic, encode(event), 1, retain=False, duplicate=False, packet_id=1, connection=1)


def test_a_result_makes_a_whole_record_on_its_own() -> None:
    row = row_of(ended())

    assert row == row_of(accepted(), started(), ended())
    assert (row.accepted_at, row.started_at, row.finished_at) == (NOON, at(1), at(1.25))
    assert row.duration_s == 0.25


def test_a_status_that_comes_after_the_result_changes_nothing() -> None:
    known = row_of(ended())

    folded = fold({"r1": known}, [started(), accepted()])

    assert folded.rows == []


def test_the_timeline_has_each_state_of_each_attempt_in_order() -> None:
    row = row_of(ended(2), retrying(1), accepted(60, duplicate=True), started(2), started(1), accepted(), started(2))

    assert [(moment.state, moment.attempt, moment.at, moment.runner) for moment in row.timeline] == [
        (RunState.ACCEPTED, 0, NOON, None),
        (RunState.STARTED, 1, at(1), "edge/1"),
        (RunState.RETRYING, 1, at(1.5), None),
        (RunState.STARTED, 2, at(2), "edge/2"),
        (RunState.SUCCEEDED, 2, at(2.25), None),
    ]


def test_of_a_run_that_never_gives_up_the_latest_moments_are_kept() -> None:
    row = row_of(*(started(attempt) for attempt in range(1, 201)))

    assert [moment.attempt for moment in row.timeline] == list(range(137, 201))


def test_a_late_acceptance_is_not_lost() -> None:
    row = row_of(started(), accepted())

    assert (row.state, row.accepted_at, row.started_at, row.key) == (RunState.STARTED, NOON, at(1), "boiler-7")


def test_the_acceptance_of_a_repeated_request_is_not_taken_for_the_first() -> None:
    row = row_of(accepted(60, duplicate=True, run_state=RunState.STARTED), accepted())

    assert row.accepted_at == NOON


def test_a_delayed_run_is_delayed_until_it_is_queued() -> None:
    delayed = accepted(run_state=RunState.DELAYED)
    queued = RunStatus(run_id="r1", pipeline="p", state=RunState.QUEUED, at=at(60))

    assert (row_of(delayed).state, row_of(delayed).accepted_at) == (RunState.DELAYED, at(0))
    assert row_of(queued, delayed).state == row_of(delayed, queued, delayed).state == RunState.QUEUED
    assert row_of(delayed, started()).state == RunState.STARTED


def test_a_repeated_request_for_a_run_that_has_ended_starts_no_record() -> None:
    folded = fold({}, [accepted(60, duplicate=True, run_state=RunState.SUCCEEDED)])

    assert folded.rows == []


def test_a_repeat_tells_what_was_asked_for_when_the_first_acceptance_was_never_published() -> None:
    request = RunRequest(run_id="r1", inputs={"x": 1})
    repeat = replace(accepted(60, duplicate=True, run_state=RunState.SUCCEEDED), request=request)

    row = row_of(ended(1), repeat)

    assert row.request == encode(request).decode()
    assert (row.state, row.accepted_at, row.finished_at) == (RunState.SUCCEEDED, NOON, row_of(ended(1)).finished_at)


def test_a_later_attempt_replaces_what_belonged_to_the_earlier() -> None:
    row = row_of(accepted(), started(1), retrying(1), started(2))

    assert (row.state, row.attempt, row.started_at, row.runner) == (RunState.STARTED, 2, at(2), "edge/2")


def test_a_result_of_an_overtaken_attempt_is_ignored_and_told() -> None:
    overtaken = ended(1, RunState.FAILED)
    known = row_of(started(2))

    folded = fold({"r1": known}, [overtaken])

    assert folded.rows == []
    assert folded.ignored == [overtaken]


@pytest.mark.parametrize("second", [ended(1, RunState.FAILED), ended(2), ended(1, RunState.CANCELLED, ran=False)])
def test_a_second_end_is_ignored_and_told(second: RunResult) -> None:
    folded = fold({}, [ended(), second])

    assert folded.rows == [row_of(ended())]
    assert folded.ignored == [second]


def test_a_repeated_result_is_neither_written_nor_told() -> None:
    folded = fold({"r1": row_of(ended())}, [ended()])

    assert folded.rows == []
    assert folded.ignored == []


def test_an_event_of_another_pipeline_does_not_touch_a_run() -> None:
    foreign = RunStatus(run_id="r1", pipeline="other", state=RunState.STARTED, at=NOON, attempt=9)

    assert row_of(accepted(), foreign) == row_of(accepted())


def test_every_result_has_one_receipt_in_a_batch() -> None:
    events: list[Event] = [accepted(), ended(), ended(), ended(2)]

    assert receipts(events) == [Receipt(run_id="r1", attempt=1), Receipt(run_id="r1", attempt=2)]


def test_the_latest_run_is_told_with_its_error() -> None:
    error = RunError(code=FailureCode.PIPELINE_ERROR, message="No key 'x'.", node="raw")
    result = RunResult(
        run_id="r1", pipeline="p", state=RunState.FAILED, attempt=1, accepted_at=NOON, finished_at=at(1), error=error
    )

    told = latest(row_of(result))

    assert told.error == error
    assert told.duration_s is None


def test_times_are_read_as_utc() -> None:
    local = datetime.fromisoformat("2026-11-22T13:00:00+01:00")

    for time in (local, NOON.replace(tzinfo=None)):
        event = RunStatus(run_id="r1", pipeline="p", state=RunState.ACCEPTED, at=time)

        assert read_event(a_delivery(event)) == RunStatus(run_id="r1", pipeline="p", state=RunState.ACCEPTED, at=NOON)


@pytest.mark.parametrize("result", [ended(), ended(ran=False, state=RunState.CANCELLED)])
def test_a_result_is_read_as_it_was_told(result: RunResult) -> None:
    assert read_event(a_delivery(result)) == result


def a_status(**fields: object) -> RunStatus:
    values: dict[str, object] = {"run_id": "r1", "pipeline": "p", "state": RunState.ACCEPTED, "at": NOON}
    return RunStatus(**(values | fields))  # type: ignore[arg-type]  # wrong values are the point


@pytest.mark.parametrize(
    "event",
    [
        a_status(run_id="../r1"),
        a_status(pipeline="a/+/#"),
        a_status(attempt=-1),
        a_status(attempt=2**63),
        a_status(state=RunState.SUCCEEDED),
        a_status(at=datetime.fromisoformat("0001-01-01T00:00:00+05:00")),
        ended(state=RunState.STARTED),
    ],
)
def test_what_no_history_can_hold_is_unreadable(event: Event) -> None:
    with pytest.raises(WireError):
        read_event(a_delivery(event))


def test_a_message_that_speaks_of_another_run_than_its_topic_is_unreadable() -> None:
    with pytest.raises(WireError, match="not what its topic says"):
        read_event(a_delivery(accepted(), topics.status("p", "r2")))


def test_a_nul_in_a_text_is_replaced_because_postgresql_has_none() -> None:
    assert row_of(a_status(key="a\0b")).key == "a\ufffdb"


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """Draw all events of one run, as its services would tell them."""
    last = draw(st.integers(1, 3))
    events: list[Event] = [accepted()]
    for attempt in range(1, last):
        events += [started(attempt), retrying(attempt)]
    ran = draw(st.booleans())
    state = draw(st.sampled_from([RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.DEAD]))
    events += [started(last)] if ran else []
    events += draw(st.sampled_from([[], [accepted(90, duplicate=True)]]))
    return [*events, ended(last, state, ran=ran)] if draw(st.booleans()) else events


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[RunRow, list[list[Event]]]:
    """Draw a life's record, and the same life in any order, with repeats, cut into batches."""
    life = draw(lives())
    heard = draw(st.permutations(life + draw(st.lists(st.sampled_from(life), max_size=4))))
    cuts = sorted(draw(st.lists(st.integers(0, len(heard)), max_size=4)))
    return row_of(*life), [heard[start:end] for start, end in pairwise([0, *cuts, len(heard)])]


@pytest.fixture(scope="module")
def connection() -> Iterator[sql.Connection]:
    engine = sql.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


@given(deliveries())
def test_order_repetition_and_batches_leave_no_trace_in_the_history(
    connection: sql.Connection, drawn: tuple[RunRow, list[list[Event]]]
) -> None:
    record, batches = drawn
    connection.execute(sql.delete(history.runs))

    for batch in batches:
        store(connection, batch)

    assert history.find(connection, ["r1"]) == {"r1": record}


def store(connection: sql.Connection, batch: Sequence[Event]) -> None:
    known = history.find(connection, ["r1"])
    history.put(connection, fold(known, batch).rows, known)


def test_what_was_folded_with_an_older_row_does_not_undo_an_end(connection: sql.Connection) -> None:
    connection.execute(sql.delete(history.runs))
    store(connection, [ended(2)])

    history.put(connection, [row_of(started(3)), row_of(started(1))], {})

    assert history.find(connection, ["r1"]) == {"r1": row_of(ended(2))}


def test_a_burst_is_told_once_and_its_last_one_in_the_end() -> None:
    pace = Pace(1.0)
    pace.want("p")
    first = pace.due(10.0)
    pace.told("p", 10.0)
    pace.want("p")

    assert first == ["p"]
    assert pace.due(10.9) == []
    assert pace.wait_s(10.9) == pytest.approx(0.1)
    assert pace.held_back() == ["p"]
    assert pace.due(11.0) == ["p"]


def test_one_name_does_not_wait_for_another() -> None:
    pace = Pace(1.0)
    pace.told("p", 10.0)
    pace.want("p")
    pace.want("q")

    assert pace.due(10.5) == ["q"]
    assert pace.wait_s(10.5) == 0.0


def test_nothing_waits_when_nothing_is_wanted() -> None:
    assert Pace(1.0).wait_s(0.0) is None
