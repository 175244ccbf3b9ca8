"""What the recorder takes together, and what it holds back."""

import pytest

from fpbus.bus import Delivery, Inbox
from fpbus.recorder import gathering
from fpbus.recorder.gathering import BATCH, Gathering
from fpbus.schemas import topics


def _delivery(topic: str) -> Delivery:
    return Delivery(topic, b"", qos=1, retain=False, duplicate=False, packet_id=1, connection=1)


def _status(number: int) -> Delivery:
    return _delivery(topics.status("p", f"run-{number}"))


def _result(number: int) -> Delivery:
    return _delivery(topics.result("p", f"run-{number}"))


def _filled(*deliveries: Delivery) -> Inbox:
    inbox = Inbox()
    for delivery in deliveries:
        inbox.put(delivery)
    return inbox


def test_what_comes_alone_is_taken_at_once() -> None:
    assert Gathering(_filled(_status(1))).take(0.0) == [_status(1)]


def test_nothing_is_taken_out_of_an_empty_inbox() -> None:
    assert Gathering(Inbox()).take(0.0) == []


def test_under_load_news_of_a_run_waits_for_its_result() -> None:
    inbox = _filled(*map(_status, range(BATCH - 1)), _result(7))
    taking = Gathering(inbox)

    assert taking.take(0.0) == [_status(7), _result(7)]

    inbox.put(_result(8))
    taken = taking.take(0.0)  # the stream pauses: all that is held comes, in its order, before what is new
    assert taken == [*(_status(number) for number in range(BATCH - 1) if number != 7), _result(8)]
    assert taking.take(0.0) == []


def test_what_was_held_back_long_enough_is_taken_under_load_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "HOLD_S", -1.0)
    statuses = [_status(number) for number in range(BATCH)]

    assert Gathering(_filled(*statuses)).take(0.0) == statuses
