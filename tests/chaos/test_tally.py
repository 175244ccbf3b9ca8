"""The checker sees what is wrong: each kind of trouble, made by hand."""

from typing import Any

import pytest

from chaos.tally import Evidence, Tally, tally

DONE = ("succeeded", 1)
END = ("succeeded", 1, "2026-11-22T10:00:00Z")


def count(**changes: Any) -> Tally:
    """Count what came of two runs of which everything is known, but for the changes."""
    whole: dict[str, Any] = {
        "asked": {"a", "b"},
        "promised": {"a", "b"},
        "records": {"a": DONE, "b": DONE},
        "ends": {"a": {END}, "b": {END}},
        "executions": {"a": 1, "b": 1},
        "left": 0,
        "recoveries": [],
    }
    return tally(Evidence(**whole | changes))


def test_what_is_whole_is_clean() -> None:
    counted = count()

    assert counted.clean
    assert (counted.asked, counted.recorded, counted.states) == (2, 2, {"succeeded": 2})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("lost", {"records": {"a": DONE}, "ends": {"a": {END}}, "executions": {"a": 1}}),
        ("stuck", {"records": {"a": DONE, "b": ("started", 1)}}),
        ("stuck", {"records": {"a": DONE}}),
        ("ghost", {"records": {"a": DONE, "b": DONE, "c": DONE}}),
        ("ghost", {"executions": {"a": 1, "b": 1, "c": 1}}),
        ("duplicate", {"ends": {"a": {END, ("failed", 2, "2026-11-22T10:00:09Z")}, "b": {END}}}),
        ("duplicate", {"executions": {"a": 2, "b": 1}}),
        ("left_over", {"left": 1}),
    ],
)
def test_each_kind_of_trouble_is_counted_once_and_as_nothing_else(kind: str, changes: dict[str, Any]) -> None:
    counted = count(**changes)

    kinds = ("lost", "stuck", "ghost", "duplicate", "left_over")
    assert {name: getattr(counted, name) for name in kinds} == {name: int(name == kind) for name in kinds}
    assert not counted.clean


def test_an_execution_more_is_no_duplicate_when_the_attempt_says_so() -> None:
    counted = count(executions={"a": 2, "b": 1}, records={"a": ("succeeded", 2), "b": DONE})

    assert counted.clean
    assert counted.recovered == 1


def test_what_nobody_promised_may_be_missing() -> None:
    counted = count(promised={"a"}, records={"a": DONE}, ends={"a": {END}}, executions={"a": 1})

    assert (counted.lost, counted.stuck) == (0, 0)
    assert counted.recorded == 1


def test_recovery_times_are_told_by_rank() -> None:
    counted = count(recoveries=[float(number) for number in range(1, 101)])

    assert (counted.recovery_p50_s, counted.recovery_p95_s, counted.recovery_max_s) == (50, 95, 100)
