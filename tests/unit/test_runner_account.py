"""What a result tells of its nodes and its log, within bounds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from fpbus.runner.account import MOST_LINES, MOST_LOG_CHARS, MOST_NODES, TEXT_CHARS, Account
from fpbus.runner.capture import LogCapture
from fpbus.runner.orders import Ended, Progress
from fpbus.schemas import LogLine, NodeRecord, RunAccount, RunResult, RunState, decode, encode

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROOM = 1024 * 1024


def a_node(name: str, state: Any = "finished", second: float = 0.0, **fields: Any) -> NodeRecord:
    return NodeRecord(node=name, state=state, at=NOON + timedelta(seconds=second), **fields)


def a_line(text: str) -> LogLine:
    return LogLine(at=NOON, level="info", text=text)


def told(*reports: Progress, room: int = ROOM) -> RunAccount:
    account = Account()
    for report in reports:
        account.add(report)
    return decode(account.encoded(room), RunAccount)


def test_a_node_is_told_by_its_end_or_that_it_has_only_started() -> None:
    first = Progress([a_node("raw", "started", 0), a_node("raw", "finished", 1), a_node("slow", "started", 2)], [])
    second = Progress([a_node("other", "started", 3), a_node("other", "failed", 4, error="ValueError: no")], [])

    nodes = told(first, second).nodes

    assert [(node.node, node.state) for node in nodes] == [
        ("raw", "finished"),
        ("slow", "started"),
        ("other", "failed"),
    ]


def test_a_node_that_runs_many_times_at_once_is_told_each_time() -> None:
    starts = [a_node("part", "started", second) for second in range(3)]

    nodes = told(Progress([*starts, a_node("part", "finished", 5)], [])).nodes

    assert [(node.state, node.at) for node in nodes] == [
        ("started", NOON + timedelta(seconds=1)),
        ("started", NOON + timedelta(seconds=2)),
        ("finished", NOON + timedelta(seconds=5)),
    ]


def test_of_many_nodes_the_first_are_told_and_the_one_that_still_runs() -> None:
    ends = [a_node(f"n{number}", second=number) for number in range(MOST_NODES + 50)]

    account = told(Progress([*ends, a_node("hangs", "started", 1000)], []))

    assert [node.node for node in account.nodes] == [*(f"n{number}" for number in range(MOST_NODES - 1)), "hangs"]
    assert account.dropped == 51


def test_of_a_flood_of_lines_the_last_are_told() -> None:
    flood = [Progress([], [a_line(f"{batch}.{number}") for number in range(1000)], dropped=7) for batch in range(3)]

    account = told(*flood)

    assert [line.text for line in account.log] == [f"2.{number}" for number in range(1000 - MOST_LINES, 1000)]
    assert account.dropped == 3000 - MOST_LINES + 3 * 7


def test_of_long_lines_so_many_are_told_as_there_is_room_for() -> None:
    account = told(Progress([], [a_line(f"{number:4000}") for number in range(50)]))

    assert [int(line.text) for line in account.log] == list(range(42, 50))
    assert sum(len(line.text) for line in account.log) <= MOST_LOG_CHARS


def test_texts_of_nodes_are_cut() -> None:
    long = "x" * (TEXT_CHARS + 1)

    failed, finished = told(Progress([a_node("a", "failed", error=long), a_node("b", summary=long)], [])).nodes

    assert (failed.error, failed.summary) == ("x" * TEXT_CHARS, None)
    assert (finished.error, finished.summary) == (None, "x" * TEXT_CHARS)


def test_control_characters_are_told_as_they_are() -> None:
    text = "bell \a, red \x1b[31m, nothing \0, \u2028 and \N{GRINNING FACE}"

    assert told(Progress([], [a_line(text)])).log == [a_line(text)]


def test_what_does_not_fit_into_a_message_is_only_counted() -> None:
    account = told(Progress([a_node("a")], [a_line("x" * 1000), a_line("y")], dropped=2), room=500)

    assert account == RunAccount(dropped=5)


def test_an_account_of_nothing_is_nothing() -> None:
    assert Account().encoded(ROOM) == b""


@pytest.mark.parametrize("with_account", [False, True])
def test_a_result_with_its_account_is_one_message(with_account: bool) -> None:  # noqa: FBT001 (a parameter)
    result = RunResult(
        run_id="r", pipeline="p", state=RunState.DEAD, attempt=1, accepted_at=NOON, finished_at=NOON, traceparent="00-a"
    )
    account = RunAccount(nodes=[a_node("a")], log=[a_line("said")], dropped=1) if with_account else RunAccount()
    ended = Ended(RunState.DEAD, encode(result), account=encode(account) if with_account else b"")

    whole = replace(result, nodes=account.nodes, log=account.log, dropped=account.dropped)

    assert ended.whole == encode(whole)


def test_of_a_flood_between_two_looks_the_last_lines_are_kept_and_the_others_counted() -> None:
    capture = LogCapture()
    for number in range(1500):
        capture.add("info", str(number))

    lines, dropped = capture.take()

    assert ([line.text for line in lines], dropped) == ([str(number) for number in range(500, 1500)], 500)
    assert capture.take() == ([], 0)


def test_half_a_character_is_written_as_a_question_mark() -> None:
    capture = LogCapture()
    capture.add("info", "half \ud83d, whole \N{GRINNING FACE}")

    (line,), _ = capture.take()

    assert line.text == "half ?, whole \N{GRINNING FACE}"
