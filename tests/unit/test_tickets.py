"""Tickets: whoever reads a number has it, and nobody else."""

import multiprocessing
import socket
from multiprocessing.connection import Connection

from fpbus.runner.tickets import TicketDesk, next_ticket


def _take_all(window: socket.socket, report: Connection) -> None:
    """Take tickets until 0 comes, and tell which."""
    taken = list[int]()
    while number := next_ticket(window):
        taken.append(number)
    report.send(taken)


def test_what_is_taken_back_was_not_taken() -> None:
    desk = TicketDesk()
    desk.give([1, 2, 3])

    first = next_ticket(desk.window)

    assert first == 1
    assert desk.take_back() == [2, 3]
    assert list(desk.take_back()) == []
    desk.close()


def test_each_ticket_goes_to_one_of_two_that_read_at_once() -> None:
    desk = TicketDesk()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    other = context.Process(target=_take_all, args=(desk.window, theirs))
    other.start()
    back = list[int]()

    for number in range(1, 20_001, 4):
        desk.give(range(number, number + 4))
        back += desk.take_back()
    back += desk.take_back()
    desk.give([0])
    taken = ours.recv()
    other.join(10)

    assert sorted(back + taken) == list(range(1, 20_001))
    assert back == sorted(back)
    assert taken == sorted(taken)
    desk.close()
