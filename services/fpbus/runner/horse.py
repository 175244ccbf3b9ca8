"""The work-horse: a child that imports the project once, keeps built drivers, and runs job after job.

It knows no broker and no Redis. Orders come over a pipe, and reports go back over it; its worker enforces
timeouts and cancels by killing it, so nothing here needs to be interruptible.
"""

import contextlib
import functools
import gc
import os
import random
import signal
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from fpbus.pipelines import (
    Graph,
    NodeReport,
    NotEncodableError,
    PipelineFailedError,
    PipelineNotLoadableError,
    Project,
    RetryRule,
    Storage,
    StorageError,
    encode_output,
    imported,
    loaded,
    override,
)
from fpbus.schemas import FailureCode, FpbusError, NodeRecord, Output, RunError, RunState
from fpbus.schemas.queue import RunJob, read_job_data

from .capture import LogCapture
from .handlers import Times, ended_with, expired, succeeded
from .lifeline import die_with
from .orders import Ended, Order, Progress, Ready, decode_orders, encode
from .texts import well_formed
from .tickets import next_ticket

_FLUSH_EVERY_S: Final = 0.05
_FLUSHES_BEFORE_SLEEP: Final = 20


def work(  # noqa: PLR0917 (what a child is given)
    pipe: Connection,
    parent: Connection,
    tickets: socket.socket,
    folder: str,
    storage_url: str,
    executor: dict[str, Any] | None,
) -> None:
    """Serve orders until the pipe is closed. The body of the child process."""
    os.setsid()  # a kill of our group then takes along what a pipeline has started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(parent)
    os.dup2(2, 1)  # what C code prints must not stand between the runner's own lines
    capture = LogCapture()
    capture.install()
    horse = Horse(pipe, capture, Path(folder), storage_url, executor)
    pipe.send_bytes(encode(Ready()))
    with contextlib.suppress(EOFError):
        for order in _allowed(pipe, tickets):
            horse.run(order)


def _allowed(pipe: Connection, tickets: socket.socket) -> Iterator[Order]:
    """Yield each order that has a ticket; what was taken back is passed over."""
    waiting: deque[Order] = deque()
    while True:
        number = next_ticket(tickets)
        while not waiting or waiting[0].number != number:
            if waiting:
                waiting.popleft()
            else:
                waiting.extend(decode_orders(pipe.recv_bytes()))
        yield waiting.popleft()


class Horse:
    """Runs one order at a time."""

    def __init__(
        self, pipe: Connection, capture: LogCapture, folder: Path, storage_url: str, executor: dict[str, Any] | None
    ) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._capture = capture
        self._folder = folder
        self._storage_url = storage_url
        self._executor = executor
        self._project: Project | None = None
        self._storage: Storage | None = None
        self._seen: set[str] = set()
        self._nodes: deque[NodeRecord] = deque()
        self._busy = False
        self._awake = threading.Event()
        self._never = threading.Event()
        threading.Thread(target=self._flush_now_and_then, daemon=True).start()

    def run(self, order: Order) -> None:
        """Carry out an order and report how it ended, whatever happens."""
        job = self._settled(read_job_data(order.data))
        self._busy = True
        self._awake.set()
        ended = expired(job, order, datetime.now(UTC)) or self._attempt(job, order)
        self._busy = False
        self._capture.end_lines()
        self._send(msgspec.structs.replace(ended, progress=self._progress()))

    def _settled(self, job: RunJob) -> RunJob:
        """Give a run that asks for no executor the one of this runner, if it has one."""
        if self._executor is None or job.request.executor is not None:
            return job
        return msgspec.structs.replace(job, request=msgspec.structs.replace(job.request, executor=self._executor))

    def _attempt(self, job: RunJob, order: Order) -> Ended:
        started_at = datetime.now(UTC)
        try:
            outputs = self._compute(job, order)
            ended = succeeded(job, order, Times(started_at, datetime.now(UTC)), outputs)
        except PipelineFailedError as failed:
            ended = self._failed(job, order, started_at, failed)
        except BaseException as error:
            # What a pipeline does outside its nodes, `sys.exit()` and what we did not foresee end this attempt only.
            ended = ended_with(job, order, Times(started_at, datetime.now(UTC)), RunState.FAILED, _explain(error))
        return ended

    def _compute(self, job: RunJob, order: Order) -> dict[str, Output]:
        graph = self._graph(job)
        run = override(graph.config.run, job.request)
        started = time.perf_counter()
        end = functools.partial(graph.end, run, job.run_id, order.attempt)
        values = graph.attempt(run, job.run_id, order.attempt, self._note, traceparent=job.traceparent)
        where = f"{job.pipeline}/{job.run_id}/{order.attempt}"
        try:
            outputs = {name: self._encode(where, name, value) for name, value in values.items()}
        except Exception as error:
            end(time.perf_counter() - started, error=error)
            raise
        end(time.perf_counter() - started, values)
        return outputs

    def _graph(self, job: RunJob) -> Graph:
        if self._project is None:
            self._project = Project.load(self._folder)
        graph = self._project.graph(job.pipeline)
        if job.pipeline not in self._seen:
            self._seen.add(job.pipeline)
            gc.freeze()  # what it has imported stays; the garbage collector need not look at it after every few runs
        return graph

    def _encode(self, where: str, name: str, value: Any) -> Output:
        try:
            return encode_output(name, value, lambda file, content: self._store(f"{where}/{file}", content))
        except NotEncodableError as error:
            raise _OutputError(name, str(error)) from error

    def _store(self, path: str, content: bytes) -> str:
        if self._storage is None:
            options = self._project.config.storage_options if self._project else None
            self._storage = Storage(self._storage_url, options)
        return self._storage.write(path, content)

    def _failed(self, job: RunJob, order: Order, started_at: datetime, failed: PipelineFailedError) -> Ended:
        cause = failed.cause
        error = RunError(
            code=FailureCode.PIPELINE_ERROR,
            type=type(cause).__name__,
            message=str(failed),
            node=failed.node,
            traceback=failed.trace or None,
        )
        ended = ended_with(job, order, Times(started_at, datetime.now(UTC)), RunState.FAILED, error)
        chance = random.uniform(-1, 1)  # noqa: S311 (jitter, not a secret)
        delay = self._rule(job).delay_after(order.attempt - order.lost_before, cause, chance)
        if delay is None:
            graph, seconds = self._graph(job), (datetime.now(UTC) - started_at).total_seconds()
            run = override(graph.config.run, job.request)
            graph.end(run, job.run_id, order.attempt, seconds, error=cause, failed_node=failed.node)
        return Ended(ended.state, ended.result, delay, well_formed(f"{type(cause).__name__}: {failed}"[:500]))

    def _rule(self, job: RunJob) -> RetryRule:
        """Return the rule of a run. What a message names is never imported."""
        graph, request = self._graph(job), job.request
        named = (request.max_retries, request.retry_delay, request.jitter_factor, request.retry_exceptions)
        if all(setting is None for setting in named):
            return graph.rule
        return RetryRule.of(override(graph.config.run, request), loaded if request.retry_exceptions else imported)

    def _note(self, report: NodeReport) -> None:
        state: Literal["started", "finished", "failed"]
        state = "failed" if report.error else "started" if report.duration_s is None else "finished"
        self._nodes.append(
            NodeRecord(
                node=report.node,
                state=state,
                at=report.at,
                duration_s=report.duration_s,
                summary=report.summary,
                error=report.error and well_formed(report.error),
                cached=report.cached,
            )
        )

    def _flush_now_and_then(self) -> None:
        """Tell of a run that takes its time; sleep when there has been none for a second, to cost nothing then."""
        while self._awake.wait():
            self._awake.clear()
            for _ in range(_FLUSHES_BEFORE_SLEEP):
                self._never.wait(_FLUSH_EVERY_S)
                if self._busy and (progress := self._progress()):
                    self._send(progress)
            if self._busy:
                self._awake.set()

    def _progress(self) -> Progress | None:
        nodes = [self._nodes.popleft() for _ in range(len(self._nodes))]
        lines, dropped = self._capture.take()
        return Progress(nodes, lines, dropped) if nodes or lines else None

    def _send(self, report: Progress | Ended) -> None:
        with self._sending:
            self._pipe.send_bytes(encode(report))


class _OutputError(Exception):
    """An output cannot be encoded; `node` names it."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"The output {node!r} {reason}.")
        self.node = node


def _explain(error: BaseException) -> RunError:
    kind = type(error).__name__
    if isinstance(error, _OutputError):
        return RunError(code=FailureCode.RESULT_NOT_ENCODABLE, type=kind, message=str(error), node=error.node)
    if isinstance(error, PipelineNotLoadableError):
        return RunError(
            code=FailureCode.PIPELINE_NOT_LOADABLE, type=kind, message=str(error), traceback=error.traceback
        )
    if isinstance(error, StorageError):
        return RunError(code=FailureCode.PIPELINE_ERROR, type=kind, message=str(error))
    if isinstance(error, FpbusError):
        return RunError(code=FailureCode.PIPELINE_NOT_LOADABLE, type=kind, message=str(error))
    return RunError(code=FailureCode.PIPELINE_ERROR, type=kind, message=str(error), traceback=traceback.format_exc())
