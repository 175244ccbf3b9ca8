"""Services that answer from a script, for tests of those who ask."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from fpbus.bus import Bus, CallError, open_bus
from fpbus.schemas import (
    TERMINAL,
    CallCode,
    CallFailure,
    Cancel,
    Cancelled,
    FailureCode,
    ListRuns,
    LogLine,
    LogLines,
    Output,
    PipelineStats,
    RunError,
    RunRecord,
    RunResult,
    RunState,
    RunStatus,
    ServiceStatus,
    ShowRun,
    Stats,
    Submit,
    Submitted,
    WorkerInfo,
    topics,
)

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
ERROR = RunError(
    code=FailureCode.PIPELINE_ERROR, type="KeyError", message="'x'", node="raw", traceback="Traceback:\n  raw"
)


class StandIns:
    """A dispatcher, a recorder and a runner in one. What becomes of a run depends on its pipeline's name.

    `hello` succeeds, `broken` fails, `slow` never starts, `busy` finds Redis away; there are no others.
    """

    def __init__(self, bus: Bus) -> None:
        self.requests: list[Submit] = []
        self.shown: list[str] = []
        self.runs: dict[str, RunRecord] = {}
        self._bus = bus
        bus.answer("dispatcher", "one", {"submit": (Submit, self._submit), "cancel": (Cancel, self._cancel)})
        bus.answer(
            "recorder",
            "one",
            {
                "show_run": (ShowRun, self._show),
                "list_runs": (ListRuns, self._list_runs),
                "stats": (Stats, self._stats),
            },
        )
        bus.answer("runner", "one", {"list_workers": (Stats, self._list_workers)})

    def announce(self, role: str, state: str = "ready", *, online: bool = True, since: datetime | None = None) -> None:
        """Leave on the bus what a service says of itself."""
        fields = {"online": online, "state": state, "since": since or datetime.now(UTC), "role": role}
        status = msgspec.convert({**fields, "instance": "one", "version": "0", "pid": 7}, ServiceStatus)
        self._bus.publish(topics.presence(role, "one"), status, retain=True).wait(5)

    def start(self, pipeline: str, run_id: str) -> None:
        """Say that a run has started."""
        started = RunStatus(
            run_id=run_id, pipeline=pipeline, state=RunState.STARTED, at=AT, attempt=1, runner="edge-1/3"
        )
        self._bus.publish(topics.status(pipeline, run_id), started)

    def finish(self, run_id: str, state: RunState = RunState.SUCCEEDED, *, quietly: bool = False) -> None:
        """End a run, in the history and, unless `quietly`, on the bus."""
        pipeline = self.runs[run_id].pipeline
        result = RunResult(
            run_id=run_id,
            pipeline=pipeline,
            state=state,
            attempt=1,
            accepted_at=AT,
            started_at=AT,
            finished_at=AT + timedelta(milliseconds=5),
            outputs={"fahrenheit": Output(json=77.0)} if state is RunState.SUCCEEDED else {},
            error=ERROR if state is RunState.FAILED else None,
        )
        fields = msgspec.to_builtins(result, builtin_types=(datetime,))
        self.runs[run_id] = msgspec.convert({**fields, "duration_s": 0.005}, RunRecord)
        if not quietly:
            self._bus.publish(topics.result(pipeline, run_id), result)

    def _submit(self, submit: Submit) -> Submitted:
        self.requests.append(submit)
        run_id = submit.request.run_id
        assert run_id is not None
        _check(submit.pipeline)
        status = RunStatus(run_id=run_id, pipeline=submit.pipeline, state=RunState.ACCEPTED, at=AT)
        if run_id in self.runs:
            return Submitted(status=msgspec.structs.replace(status, duplicate=True, run_state=self.runs[run_id].state))
        self.runs[run_id] = RunRecord(
            run_id=run_id, pipeline=submit.pipeline, state=RunState.QUEUED, attempt=0, accepted_at=AT
        )
        self._bus.publish(topics.status(submit.pipeline, run_id), status)
        if submit.pipeline != "slow":
            self._run(submit.pipeline, run_id)
        return Submitted(status=status)

    def _run(self, pipeline: str, run_id: str) -> None:
        said = LogLines(run_id=run_id, pipeline=pipeline, lines=[LogLine(at=AT, level="INFO", text="measuring")])
        self.start(pipeline, run_id)
        self._bus.publish(topics.log(pipeline, run_id), said, qos=0)
        self.finish(run_id, RunState.SUCCEEDED if pipeline == "hello" else RunState.FAILED)

    def _cancel(self, cancel: Cancel) -> Cancelled:
        state = self._find(cancel.run_id).state
        if state not in TERMINAL:
            self.finish(cancel.run_id, RunState.CANCELLED)
        return Cancelled(run_id=cancel.run_id, state=state, cancelling=state not in TERMINAL)

    def _show(self, show: ShowRun) -> RunRecord:
        self.shown.append(show.run_id)
        return self._find(show.run_id)

    def _find(self, run_id: str) -> RunRecord:
        if run_id not in self.runs:
            failure = CallFailure(code=CallCode.NOT_FOUND, message=f"There is no run {run_id!r}.", field="$.run_id")
            raise CallError(failure)
        return self.runs[run_id]

    def _list_runs(self, wanted: ListRuns) -> list[RunRecord]:
        found = [run for run in self.runs.values() if wanted.state in {None, run.state}]
        return found[::-1][: wanted.limit]

    def _stats(self, wanted: Stats) -> list[PipelineStats]:
        names = {run.pipeline for run in self.runs.values() if wanted.pipeline in {None, run.pipeline}}
        return [PipelineStats(pipeline=name, runs=1, states={"succeeded": 1}) for name in sorted(names)]

    def _list_workers(self, _nothing: Stats) -> list[WorkerInfo]:
        return [WorkerInfo(name="one/1", state="idle", queues=["high", "default", "low"], pid=7, runs=3)]


def _check(pipeline: str) -> None:
    if pipeline == "busy":
        raise CallError(CallFailure(code=CallCode.UNAVAILABLE, message="Redis is not there."))
    if pipeline == "picky":
        failure = CallFailure(
            code=CallCode.REJECTED, message="Expected `float`.", field="$.inputs.x", detail="invalid_payload"
        )
        raise CallError(failure)
    if pipeline not in {"hello", "broken", "slow"}:
        message = f"There is no pipeline {pipeline!r} in this project."
        failure = CallFailure(
            code=CallCode.REJECTED,
            message=message,
            hint="Did you mean 'hello'?",
            field="$.pipeline",
            detail="unknown_pipeline",
        )
        raise CallError(failure)


@contextmanager
def standing_in(url: str, root: str = "") -> Generator[StandIns]:
    """Put stand-ins on the broker at `url`."""
    bus = open_bus(url, "stand-ins", root=root)
    standins = StandIns(bus)
    bus.start()
    assert bus.wait_connected(10)
    bus.publish("stand-ins/here", b"").wait(5)  # confirmed after the subscriptions, which were sent before
    yield standins
    bus.stop()
