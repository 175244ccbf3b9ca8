"""Where work-horses come from: a fork server that has Hamilton loaded, so that a new one is there in milliseconds."""

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from .orders import Order, Report, decode_report, encode
from .tickets import TicketDesk


class HorseDiedError(Exception):
    """A work-horse ended in the middle of its work."""


class Stable:
    """Makes horses for one project. Runs that ask for no executor have this one, else that of their pipeline."""

    def __init__(self, folder: str, storage_url: str, executor: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._arguments = (folder, storage_url, executor)
        self._context = multiprocessing.get_context("forkserver")
        # The package's __init__ imports neither broker nor Redis; `horse` imports Hamilton.
        self._context.set_forkserver_preload(["fpbus.runner.horse"])
        # A child runs its parent's __main__ again unless that is some package's `__main__`, as ours is when
        # started by `python -m fpbus`; the `fpbus` script is told to be the same, or each horse loads the CLI.
        sys.modules["__main__"].__spec__ = importlib.util.find_spec("fpbus.__main__")
        forkserver.ensure_running()  # it imports Hamilton while we connect

    def fetch(self) -> "TetheredHorse":
        """Start a horse; it says `Ready` by itself."""
        desk = TicketDesk()
        return self._tethered(desk, _work, desk.window, *self._arguments)

    def describe(self, names: Sequence[str]) -> "TetheredHorse":
        """Start a child that sends what these pipelines take and give, one after the other."""
        return self._tethered(TicketDesk(), _describe, self._folder, names)

    def _tethered(self, desk: TicketDesk, task: Callable[..., None], *arguments: Any) -> "TetheredHorse":
        ours, theirs = self._context.Pipe()
        their_end, our_end = self._context.Pipe(duplex=False)
        process = self._context.Process(target=task, args=(theirs, their_end, *arguments), daemon=True)
        process.start()
        theirs.close()
        their_end.close()
        return TetheredHorse(process, ours, our_end, desk)


def _work(  # noqa: PLR0917 (what a child is given)
    pipe: Connection,
    parent: Connection,
    tickets: socket.socket,
    folder: str,
    storage_url: str,
    executor: dict[str, Any] | None,
) -> None:
    """Become a horse. Imported here, in the child: the runner itself does without Hamilton, and stays small."""
    from .horse import work

    work(pipe, parent, tickets, folder, storage_url, executor)


def _describe(pipe: Connection, parent: Connection, folder: str, names: Sequence[str]) -> None:
    from .describer import describe

    describe(pipe, parent, folder, names)


class TetheredHorse:
    """A horse as its worker sees it. `lifeline` is never used: its end is the horse's end."""

    def __init__(self, process: ForkServerProcess, pipe: Connection, lifeline: Connection, tickets: TicketDesk) -> None:
        self._process = process
        self._lifeline = lifeline
        self._tickets = tickets
        self.pipe = pipe
        self.runs = 0

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def order(self, orders: Sequence[Order]) -> None:
        """Give it work, in this order; raise `HorseDiedError` when it is not there any more."""
        self.runs += len(orders)
        self.allow(
            [order.number for order in orders]
        )  # first: it reads no order without, and a pipe takes only so much
        try:
            self.pipe.send_bytes(encode(orders))
        except OSError as error:
            raise HorseDiedError(self._epitaph()) from error

    def allow(self, numbers: Sequence[int]) -> None:
        """Let it begin orders that it has."""
        self._tickets.give(numbers)

    def take_back(self) -> Sequence[int]:
        """Return the orders that it has not begun and will not begin."""
        return self._tickets.take_back()

    def report(self) -> Report:
        """Read its next report, which must be waiting; raise `HorseDiedError` at its end."""
        try:
            report: Report = decode_report(self.pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise HorseDiedError(self._epitaph()) from error
        return report

    def _epitaph(self) -> str:
        self._process.join(1.0)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"It was killed by {signal.Signals(-code).name}."
        return f"It ended with exit code {code}."

    def kill(self) -> None:
        """End it and everything that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(5.0)
        self.pipe.close()
        self._lifeline.close()
        self._tickets.close()
