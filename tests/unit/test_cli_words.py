"""Events of runs in words for people."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fpbus.cli.words import duration, exit_of, lines_of
from fpbus.schemas import (
    FailureCode,
    LogLine,
    LogLines,
    NodeEvent,
    RunError,
    RunResult,
    RunState,
    RunStatus,
)

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def a_status(state: RunState, **facts: Any) -> RunStatus:
    return RunStatus(run_id="r1", pipeline="hello", state=state, at=AT, **facts)


def a_result(state: RunState, error: RunError | None = None) -> RunResult:
    return RunResult(
        run_id="r1",
        pipeline="hello",
        state=state,
        attempt=1,
        accepted_at=AT,
        started_at=AT,
        finished_at=AT + timedelta(milliseconds=5),
        error=error,
    )


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (a_status(RunState.ACCEPTED), "accepted"),
        (a_status(RunState.STARTED, runner="edge-1/3", attempt=2), "started on edge-1/3, attempt 2"),
        (a_status(RunState.RETRYING, attempt=1, reason="KeyError: 'x'"), "retrying: KeyError: 'x'"),
        (
            a_status(RunState.ACCEPTED, duplicate=True, run_state=RunState.STARTED),
            "accepted before; it is started",
        ),
        (a_status(RunState.DELAYED, not_before=AT), "delayed, not before 2026-11-22 10:15:00Z"),
        (a_result(RunState.SUCCEEDED), "succeeded in 5 ms"),
        (
            a_result(
                RunState.FAILED,
                RunError(code=FailureCode.PIPELINE_ERROR, type="KeyError", message="'x'", node="raw_data"),
            ),
            "failed in 5 ms: KeyError: 'x' (node raw_data)",
        ),
        (
            NodeEvent(run_id="r1", pipeline="hello", node="raw", event="finished", at=AT, duration_s=1.25),
            "  raw finished in 1.2 s",
        ),
    ],
)
def test_an_event_is_one_line(event: Any, line: str) -> None:
    assert lines_of(event) == [line]


def test_log_lines_are_marked_and_lost_ones_are_counted() -> None:
    said = [LogLine(at=AT, level="INFO", text=text) for text in ("one", "two")]

    lines = lines_of(LogLines(run_id="r1", pipeline="hello", lines=said, dropped=3))

    assert lines == ["| (3 lines were dropped)", "| one", "| two"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0004, "0 ms"),
        (0.0056, "6 ms"),
        (0.9999, "1.0 s"),
        (1.24, "1.2 s"),
        (59.96, "1 min 0 s"),
        (200.4, "3 min 20 s"),
    ],
)
def test_a_duration_has_its_unit(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("state", "code"),
    [(RunState.SUCCEEDED, 0), (RunState.FAILED, 1), (RunState.DEAD, 1), (RunState.CANCELLED, 6)],
)
def test_the_exit_code_says_how_a_run_ended(state: RunState, code: int) -> None:
    assert exit_of(a_result(state)).exit_code == code
