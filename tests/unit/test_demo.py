"""The demo must not say that everything agrees when it does not."""

from datetime import UTC, datetime
from hashlib import blake2b

import msgspec
import pytest

from fpbus.cli.demo.story import CLIMATE, WEATHER, Story
from fpbus.cli.demo.system import DeviceReport
from fpbus.cli.demo.verdict import missing
from fpbus.schemas import (
    PipelineStats,
    Rejection,
    RejectionCode,
    RunRecord,
    RunResult,
    RunState,
    encode,
    topics,
)

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
WRONG = b'{"run_id": "wrong", "input": {}}'
REPORT = DeviceReport(published=2, results=1, rejections=1, p50_ms=9.0, p95_ms=12.0)
RECORDS = [RunRecord(run_id="good", pipeline=WEATHER, state=RunState.SUCCEEDED, attempt=1)]
STATS = [
    PipelineStats(pipeline=WEATHER, runs=1, states={"succeeded": 1}),
    PipelineStats(pipeline=CLIMATE, runs=1, states={"succeeded": 1}),
]


def story(state: RunState | None = RunState.SUCCEEDED, field: str | None = "$.input") -> Story:
    """Tell of a good message that ends in `state`, and of a wrong one that is rejected for `field`."""
    told = Story()
    told.hear(topics.run(WEATHER), b'{"run_id": "good", "inputs": {}}', AT)
    told.hear(topics.run(WEATHER), WRONG, AT)
    if state is not None:
        result = RunResult(run_id="good", pipeline=WEATHER, state=state, attempt=1, accepted_at=AT, finished_at=AT)
        told.hear(topics.result(WEATHER, "good"), encode(result), AT)
    rejection = Rejection(
        code=RejectionCode.UNKNOWN_FIELD,
        message="",
        at=AT,
        topic=topics.run(WEATHER),
        size=len(WRONG),
        digest=blake2b(WRONG, digest_size=16).hexdigest(),
        head="",
        field=field,
    )
    told.hear(topics.rejected(WEATHER), encode(rejection), AT)
    return told


def test_nothing_is_missing_when_everything_agrees() -> None:
    assert missing(story(), REPORT, RECORDS, STATS) == []


@pytest.mark.parametrize(
    ("state", "field", "sentence"),
    [
        (None, "$.input", "Run good has no result."),
        (RunState.FAILED, "$.input", "Run good failed."),
        (RunState.SUCCEEDED, "$.inputs", "Message wrong was not rejected for its field $.input."),
    ],
)
def test_a_message_without_the_right_answer_is_named(state: RunState | None, field: str, sentence: str) -> None:
    assert missing(story(state, field), REPORT, RECORDS, STATS) == [sentence]


def test_a_run_that_the_recorder_does_not_know_is_named() -> None:
    assert "Run good is not in the history." in missing(story(), REPORT, [], STATS)


def test_a_lost_message_is_told() -> None:
    report = msgspec.structs.replace(REPORT, published=3)

    assert missing(story(), report, RECORDS, STATS) == ["There are 2 messages on the bus, not 3."]


def test_a_device_that_fell_over_is_told() -> None:
    assert missing(story(), "KeyError", RECORDS, STATS) == ["The device did not report. It said: KeyError"]


def test_a_scheduler_that_did_nothing_is_told() -> None:
    assert missing(story(), REPORT, RECORDS, STATS[:1]) == ["The scheduler's runs are not in the history."]


def test_a_repeated_event_is_told_once() -> None:
    told = Story()

    first = told.hear(topics.run(WEATHER), WRONG, AT)
    second = told.hear(topics.run(WEATHER), WRONG, AT)

    assert (len(first), second) == (1, [])
