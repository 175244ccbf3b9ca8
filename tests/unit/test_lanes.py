"""Queues and their lanes, and which Redis servers will do: values in, values out."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from fpbus.dispatcher.handlers import Rules, admit
from fpbus.schemas import LimitsConfig, PipelineConfig, Priority, RunConfig, RunnerConfig, RunRequest
from fpbus.schemas.lanes import QueueNameError, all_lanes, lane_of, lanes_of, read_lanes
from fpbus.schemas.redis_server import RedisTooOldError, check_redis


@pytest.mark.parametrize(
    ("queue", "priority", "lane"),
    [
        (None, Priority.HIGH, "high"),
        (None, Priority.DEFAULT, "default"),
        ("default", Priority.LOW, "low"),
        ("gpu", Priority.HIGH, "gpu.high"),
        ("gpu", Priority.DEFAULT, "gpu"),
        ("gpu", Priority.LOW, "gpu.low"),
    ],
)
def test_a_run_waits_in_the_lane_of_its_priority(queue: str | None, priority: Priority, lane: str) -> None:
    assert lane_of(queue, priority) == lane


def test_a_queue_stands_for_its_lanes_and_a_lane_for_itself() -> None:
    assert lanes_of("gpu") == ["gpu.high", "gpu", "gpu.low"]
    assert lanes_of("gpu.low") == ["gpu.low"]
    assert [lanes_of(name) for name in ("high", "default", "low")] == [["high"], ["default"], ["low"]]
    assert all_lanes(["low", "b.low", "a"]) == [
        *("high", "default", "low"),
        *("a.high", "a", "a.low"),
        *("b.high", "b", "b.low"),
    ]


@pytest.mark.parametrize("names", ["b, default,b.high", ["b", "default", "b.high"]])
def test_what_is_served_is_read_in_its_order_and_once(names: str | list[str]) -> None:
    assert read_lanes(names) == ["b.high", "b", "b.low", "default"]
    assert read_lanes(None) is None


@pytest.mark.parametrize("names", ["", "a,,b", "a b", "a:b", "x" * 65, "*", "gpu.medium", "a\nb"])
def test_a_name_that_no_queue_can_have_is_refused(names: str) -> None:
    with pytest.raises(QueueNameError):
        read_lanes([names])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"queues": names}, RunnerConfig)


def test_a_priority_is_no_queue() -> None:
    with pytest.raises(msgspec.ValidationError, match="say `priority: high`"):
        msgspec.convert({"queue": "high"}, RunConfig)


def test_the_pipelines_own_file_chooses_the_queue_and_the_message_the_priority() -> None:
    rules = Rules(
        pipelines={"p": PipelineConfig(run=RunConfig(queue="gpu"))},
        limits=LimitsConfig(),
        timezone=ZoneInfo("UTC"),
        root="",
    )

    admission = admit("p", RunRequest(priority=Priority.HIGH), rules, datetime.now(UTC), lambda: "r", None)

    assert admission.job.queue == "gpu.high"


@pytest.mark.parametrize("info", [{}, {"redis_version": "6.2.14"}, {"redis_version": "unstable"}])
def test_an_old_redis_is_refused_with_both_versions(info: dict[str, str]) -> None:
    found = info.get("redis_version", "of an unknown version")
    with pytest.raises(RedisTooOldError, match=rf"is {re.escape(found)}; fpbus needs Redis 7\.0 or later") as refused:
        check_redis(info)
    assert refused.value.exit_code == 8
    assert refused.value.hint


@pytest.mark.parametrize(
    "info",
    [
        {"redis_version": "7.0.0"},
        {"redis_version": "8.2.1"},
        {"redis_version": "10.0.0"},
        {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.0.1"},
        {"redis_version": "6.9.9", "valkey_version": "9.0.0"},
    ],
)
def test_a_new_redis_and_any_valkey_will_do(info: dict[str, str]) -> None:
    check_redis(info)
