"""Limits of a pipeline: as they are written, and who makes room."""

import msgspec
import pytest

from fpbus.dispatcher.handlers import request_again, victims
from fpbus.dispatcher.queue import limit_rule
from fpbus.schemas import PipelineConfig, PipelineLimits, RunRequest


def read(text: str) -> PipelineLimits:
    return msgspec.yaml.decode(text, type=PipelineConfig).limits


@pytest.mark.parametrize(
    ("rate", "per_s"),
    [("10/s", 10), ("90/min", 1.5), ("36/h", 0.01), ("86400/d", 1), ("{runs: 3, per_s: 2}", 1.5), ("0.5/s", 0.5)],
)
def test_a_rate_has_a_short_form_and_one_in_parts(rate: str, per_s: float) -> None:
    assert read(f"limits: {{rate: {rate}}}").per_s == pytest.approx(per_s)


@pytest.mark.parametrize(
    "limits",
    ["max_running: 0", "max_running_per_key: 0", "rate: 0/s", "rate: 10/week", "rate: -1/s", "rate: {runs: 0}",
     "when_full: drop", "rate: 10", "max: 3"],
)  # fmt: skip
def test_what_could_never_run_or_means_nothing_is_refused(limits: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(f"limits: {{{limits}}}")


def test_a_pipeline_without_limits_costs_its_runs_nothing() -> None:
    assert limit_rule(PipelineLimits()) == {}
    assert limit_rule(PipelineLimits(rate="30/min")) == {"per_s": 0.5, "burst": 1.0}
    assert limit_rule(PipelineLimits(max_running=2, rate="20/s")) == {"max_running": 2, "per_s": 20.0, "burst": 20.0}


@pytest.mark.parametrize(
    ("waiting", "running", "limits", "chosen"),
    [
        ([""], [("a", "", False), ("b", "", False)], {"max_running": 2}, ["a"]),
        (["", "", ""], [("a", "", False), ("b", "", False)], {"max_running": 2}, ["a", "b"]),
        ([""], [("a", "", True), ("b", "", False)], {"max_running": 2}, []),
        (["", ""], [("a", "", True), ("b", "", False)], {"max_running": 2}, ["b"]),
        ([""], [("a", "", False)], {"max_running": 2}, []),
        (["k"], [("a", "j", False), ("b", "k", False)], {"max_running_per_key": 1}, ["b"]),
        (["k"], [("a", "j", False)], {"max_running_per_key": 1}, []),
        (["k"], [("a", "k", False), ("b", "j", False)], {"max_running": 2, "max_running_per_key": 1}, ["a"]),
    ],
)
def test_the_oldest_make_room_one_for_each_that_waits(
    waiting: list[str], running: list[tuple[str, str, bool]], limits: dict[str, int], chosen: list[str]
) -> None:
    assert victims(waiting, running, PipelineLimits(**limits)) == chosen  # type: ignore[arg-type]  # numbers all


def test_a_retry_lays_inputs_over_and_forgets_times_and_traces() -> None:
    first = msgspec.json.decode(
        b'{"type": "run_request", "run_id": "r", "inputs": {"x": 1, "y": 2}, "key": "k", "reply_to": "a",'
        b'"not_before": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z", "traceparent": "t"}',
        type=RunRequest,
    )

    again = request_again(first, {"x": 5}, "s")

    assert again == RunRequest(run_id="s", inputs={"x": 5, "y": 2}, key="k", reply_to="a")
