"""What a worker says on the bus: a run started, its nodes and its log, another try to come, its result."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fpbus.bus import Bus
from fpbus.schemas import LogLines, NodeEvent, NodeRecord, RunState, RunStatus, topics
from fpbus.schemas.cloud_events import CLOUD_EVENT, result_event
from fpbus.schemas.queue import RunJob

from .orders import Ended, Progress
from .queue import Claim


class Teller:
    """Speaks for one worker."""

    def __init__(self, bus: Bus, worker: str) -> None:
        self._bus = bus
        self._worker = worker

    def started(self, claim: Claim, at: datetime) -> None:
        self._status(claim, RunState.STARTED, at)

    def progress(self, claim: Claim, reports: Sequence[Progress], *, with_starts: bool) -> None:
        """Publish node events and log lines; without starts, as of a run that is over, only how its nodes ended."""
        job = claim.job
        for report in reports:
            for node in report.nodes:
                if with_starts or node.state != "started":
                    self._bus.publish(topics.node(job.pipeline, job.run_id, node.node), _event(job, node), qos=0)
            if report.lines:
                lines = LogLines(run_id=job.run_id, pipeline=job.pipeline, lines=report.lines, dropped=report.dropped)
                self._bus.publish(topics.log(job.pipeline, job.run_id), lines, qos=0)

    def ended(self, claim: Claim, ended: Ended) -> None:
        """Publish the result of a run, also where its publisher wants the answer; or that it is tried again.

        The answer has no account: devices have small buffers.
        """
        job = claim.job
        if ended.retry_delay_s is not None:
            self._status(claim, RunState.RETRYING, datetime.now(UTC), ended.reason)
            return
        self._bus.publish(topics.result(job.pipeline, job.run_id), ended.whole, traceparent=job.traceparent)
        if job.request.reply_to is not None:
            if job.as_event:
                event = result_event(job.pipeline, job.run_id, ended.result)
                self._bus.reply(job.request.reply_to, event, job.correlation, CLOUD_EVENT)
            else:
                self._bus.reply(job.request.reply_to, ended.result, job.correlation)

    def _status(self, claim: Claim, state: RunState, at: datetime, reason: str | None = None) -> None:
        job = claim.job
        status = RunStatus(
            run_id=job.run_id,
            pipeline=job.pipeline,
            state=state,
            at=at,
            attempt=claim.execution.attempt,
            runner=self._worker,
            reason=reason,
            traceparent=job.traceparent,
        )
        self._bus.publish(topics.status(job.pipeline, job.run_id), status, traceparent=job.traceparent)


def _event(job: RunJob, node: NodeRecord) -> NodeEvent:
    return NodeEvent(
        run_id=job.run_id,
        pipeline=job.pipeline,
        node=node.node,
        event=node.state,
        at=node.at,
        duration_s=node.duration_s,
        summary=node.summary,
        error=node.error,
        cached=node.cached,
    )
