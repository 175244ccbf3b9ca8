"""What becomes of runs that find their pipeline at its limit, where it says something else than to wait."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from fpbus.schemas import PipelineConfig, PipelineLimits, RunResult
from fpbus.schemas.queue import RunJob

from .handlers import cancelled_result, skipped_result, victims
from .queue import RunQueue


class Overflow:
    """Skips what is too much, or cancels what runs for it. `ended` and `marked` are as for `Chooser`."""

    def __init__(
        self, queue: RunQueue, ended: Callable[[RunJob, RunResult], None], marked: Callable[[str], None]
    ) -> None:
        self._queue = queue
        self._ended = ended
        self._marked = marked

    def settle(self, pipelines: Mapping[str, PipelineConfig]) -> None:
        """Do what is due now; a repeat finds nothing more. Runs of a paused pipeline wait all the same."""
        strict = {name: config.limits for name, config in pipelines.items() if config.limits.when_full != "queue"}
        if not strict:
            return
        for name in strict.keys() - self._queue.jobs.paused():
            if strict[name].when_full == "skip":
                self._skip(name)
            else:
                self._make_room(name, strict[name])

    def _skip(self, pipeline: str) -> None:
        jobs = self._queue.jobs.read([job.run_id for job in self._queue.jobs.held_by(pipeline)])
        now = datetime.now(UTC)
        runs = [(job, skipped_result(job, attempt, now)) for job, attempt in jobs.values()]
        for (job, result), skipped in zip(runs, self._queue.skip(runs) if runs else [], strict=True):
            if skipped:
                self._ended(job, result)

    def _make_room(self, pipeline: str, limits: PipelineLimits) -> None:
        waiting = [job.key or "" for job in self._queue.jobs.held_by(pipeline)]
        if not waiting:
            return
        running = [run for run in self._queue.jobs.running() if run.pipeline == pipeline]
        chosen = victims(waiting, [(run.run_id, run.key, run.cancelling) for run in running], limits)
        for job, attempt in self._queue.jobs.read(chosen).values():
            result = cancelled_result(job, attempt, datetime.now(UTC))
            became = self._queue.cancel(job, result)
            if became == "cancelled":
                self._ended(job, result)
            elif became == "marked":
                self._marked(job.run_id)
