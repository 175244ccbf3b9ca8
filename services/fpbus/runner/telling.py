"""What a worker says on the bus: a run started, its nodes and its log, another try to come, its result."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from fpbus.bus import Bus
from fpbus.schemas import LogLines, NodeEvent, NodeRecord, RunState, RunStatus, topics
from fpbus.schemas.cloud_events import CLOUD_EVENT, result_event
from fpbus.schemas.queue import RunJob

from .audience import Audience
from .orders import Ended, Progress
from .queue import Claim

_NODES: Final = "nodes"
_LOG: Final = "log"


class Teller:
    """Speaks for one worker."""

    def __init__(self, bus: Bus, worker: str) -> None:
        self._bus = bus
        self._worker = worker
        self._audience = Audience()

    def started(self, claim: Claim, at: datetime) -> None:
        self._status(claim, RunState.STARTED, at)

    def progress(self, claim: Claim, reports: Sequence[Progress], *, with_starts: bool, hurries: bool) -> None:
        """Publish node events and log lines; without starts, as of a run that is over, only how its nodes ended.

        A worker that hurries, because more short runs wait, tells nothing while nobody listens.
        """
        job = claim.job
        for report in reports:
            if not (hurries and self._audience.is_absent(job.pipeline, _NODES)):
                told = [node for node in report.nodes if with_starts or node.state != "started"]
                self._tell(
                    job, _NODES, [(topics.node(job.pipeline, job.run_id, one.node), _event(job, one)) for one in told]
                )
            if report.lines and not (hurries and self._audience.is_absent(job.pipeline, _LOG)):
                lines = LogLines(run_id=job.run_id, pipeline=job.pipeline, lines=report.lines, dropped=report.dropped)
                self._tell(job, _LOG, [(topics.log(job.pipeline, job.run_id), lines)])

    def _tell(self, job: RunJob, kind: str, messages: Sequence[tuple[str, NodeEvent | LogLines]]) -> None:
        for topic, message in messages:
            if self._audience.asks(job.pipeline, kind):
                self._audience.note(job.pipeline, kind, self._bus.publish(topic, message))
            else:
                self._bus.publish(topic, message, qos=0)

    def ended(self, endings: Iterable[tuple[Claim, Ended]]) -> None:
        """Publish how attempts ended, all together."""
        with self._bus.together():
            for claim, ended in endings:
                self._tell_end(claim, ended)

    def _tell_end(self, claim: Claim, ended: Ended) -> None:
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
