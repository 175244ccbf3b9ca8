"""What follows a run: as it is written, from what its inputs are taken, and where it ends."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from fpbus.dispatcher.following import MOST_HOPS, admit_next, follow_ups, run_id_after
from fpbus.dispatcher.handlers import RefusedError, Rules
from fpbus.schemas import (
    FailureCode,
    FollowUp,
    LimitsConfig,
    Output,
    PipelineConfig,
    RunError,
    RunRequest,
    RunResult,
    RunState,
    is_run_id,
)
from fpbus.schemas.paths import value_at
from fpbus.schemas.queue import RunJob

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def rules(**pipelines: str) -> Rules:
    configs = {name: msgspec.yaml.decode(text or "{}", type=PipelineConfig) for name, text in pipelines.items()}
    return Rules(pipelines=configs, limits=LimitsConfig(), timezone=ZoneInfo("UTC"))


def a_job(hops: int = 0) -> RunJob:
    return RunJob(
        run_id="first",
        pipeline="orders",
        request=RunRequest(run_id="first", inputs={"celsius": 25}, key="boiler-7"),
        accepted_at=NOW,
        timeout_s=60,
        dedup_window_s=3600,
        lost_attempts=3,
        hops=hops,
    )


def a_result(state: RunState = RunState.SUCCEEDED, **more: Any) -> RunResult:
    return RunResult(
        run_id="first", pipeline="orders", state=state, attempt=1, accepted_at=NOW, finished_at=NOW, **more
    )


def test_names_stand_alone_or_with_inputs() -> None:
    written = rules(
        orders="on_success: [report, {pipeline: mail, inputs: {total: outputs.total}}]\non_failure: [alert]"
    )
    report, mail, alert = (
        FollowUp(pipeline="report"),
        FollowUp(pipeline="mail", inputs={"total": "outputs.total"}),
        FollowUp(pipeline="alert"),
    )

    assert follow_ups(written, "orders", RunState.SUCCEEDED) == [report, mail]
    assert follow_ups(written, "orders", RunState.FAILED) == [alert]
    assert follow_ups(written, "orders", RunState.DEAD) == [alert]
    assert follow_ups(written, "orders", RunState.CANCELLED) == []
    assert follow_ups(written, "gone", RunState.SUCCEEDED) == []


def test_inputs_are_taken_from_the_run_and_its_result() -> None:
    outputs = {
        "report": Output(json={"lines": [{"sum": 3}]}),
        "report.total": Output(json=3),
        "table": Output(ref="file:///store/table.parquet", format="parquet"),
        "nothing": Output(json=None),
    }
    paths = {
        "a": "outputs.report.lines.0.sum",
        "b": "outputs.report.total",
        "c": "outputs.table",
        "d": "inputs.celsius",
        "e": "run_id",
        "f": "outputs.nothing",
        "g": "outputs.report.lines",
    }

    admission = admit_next(
        0, FollowUp(pipeline="next", inputs=paths), a_job(), a_result(outputs=outputs), rules(next="")
    )

    assert admission.job.request.inputs == {
        "a": 3,
        "b": 3,
        "c": "file:///store/table.parquet",
        "d": 25,
        "e": "first",
        "f": None,
        "g": [{"sum": 3}],
    }
    assert (admission.job.after, admission.job.hops, admission.job.request.key) == ("first", 1, "boiler-7")


def test_a_failure_can_be_passed_on() -> None:
    failed = a_result(
        RunState.FAILED, error=RunError(code=FailureCode.PIPELINE_ERROR, message="below zero", node="answer")
    )
    follow_up = FollowUp(pipeline="next", inputs={"why": "error.message", "where": "error.node"})

    admission = admit_next(0, follow_up, a_job(), failed, rules(next=""))

    assert admission.job.request.inputs == {"why": "below zero", "where": "answer"}


@pytest.mark.parametrize(
    "path",
    ["outputs.totl", "outputs.list.7", "outputs.list.first", "outputs.list.-1", "error.message", "x", "run_id.x"],
)
def test_a_path_that_leads_nowhere_is_named(path: str) -> None:
    result = a_result(outputs={"list": Output(json=[1, 2])})

    with pytest.raises(RefusedError, match=path) as refused:
        admit_next(0, FollowUp(pipeline="next", inputs={"x": path}), a_job(), result, rules(next=""))

    assert (refused.value.code, refused.value.field) == ("invalid_payload", "$.inputs.x")


def test_an_unknown_pipeline_and_the_seventeenth_hop_are_refused() -> None:
    with pytest.raises(RefusedError, match="'next'") as unknown:
        admit_next(0, FollowUp(pipeline="next"), a_job(), a_result(), rules(orders=""))
    with pytest.raises(RefusedError) as loop:
        admit_next(0, FollowUp(pipeline="orders"), a_job(MOST_HOPS), a_result(), rules(orders=""))

    assert (unknown.value.code, loop.value.code) == ("unknown_pipeline", "loop")
    assert admit_next(0, FollowUp(pipeline="orders"), a_job(MOST_HOPS - 1), a_result(), rules(orders="")).job.hops == 16


def test_ids_are_the_same_again_and_differ_by_run_place_and_pipeline() -> None:
    ids = {run_id_after(run, place, name) for run in ("r", "s") for place in (0, 1) for name in ("a.b", "c")}

    assert len(ids) == 8
    assert run_id_after("r", 0, "c") in ids
    assert is_run_id(run_id_after("r" * 64, 15, "p" * 64))
    assert is_run_id(run_id_after("r", 0, "a.b"))


def test_a_path_prefers_the_longest_name() -> None:
    assert value_at({"a": {"b.c": 1, "b": {"c": 2}}}, "a.b.c") == 1
    assert value_at({"a": {"b": {"c": 2}}}, "a.b") == {"c": 2}
