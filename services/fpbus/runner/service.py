"""The runner: some workers, one heartbeat for all their leases, and answers about them."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from redis import RedisError

from fpbus.bus import Bus
from fpbus.lifecycle import GRACE_S, Stop
from fpbus.schemas import Cancel, NoArguments, Role, RunnerConfig, WorkerInfo

from .queue import WorkQueue
from .stable import Stable
from .worker import Worker

log = logging.getLogger(__name__)

#: Returns something that differs when the project's files have changed.
Look = Callable[[], object]


class RunnerService:
    """One runner process: `workers` threads, each with a work-horse of its own."""

    def __init__(  # noqa: PLR0917 (its surroundings)
        self, bus: Bus, queue: WorkQueue, stable: Stable, config: RunnerConfig, look: Look, instance: str, stop: Stop
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._config = config
        self._look = look
        self._instance = instance
        self._stop = stop
        self._stamp = look()
        self._workers = [
            Worker(f"{instance}/{number}", queue, stable, bus, stop, config.runs_per_horse)
            for number in range(1, config.workers + 1)
        ]
        self._done = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Return when all workers stand ready, or the process is told to stop."""
        self._bus.answer(
            Role.RUNNER,
            self._instance,
            {"cancel": (Cancel, self._answer_cancel), "list_workers": (NoArguments, self._answer_list_workers)},
        )
        self._bus.start()
        while not self._bus.wait_connected(0.1):
            if self._stop.requested:
                return
        self._register()
        for worker in self._workers:
            worker.start()
        self._heart.start()
        for worker in self._workers:
            worker.wait_ready(20.0)

    def stop(self) -> None:
        """Let each worker finish the run in hand; near the end of the grace period hand it back instead."""
        self._stop.request()
        if self._heart.is_alive():
            patience = GRACE_S * 2 / 3
            unfinished = [worker for worker in self._workers if not worker.join(patience / len(self._workers))]
            for worker in unfinished:
                worker.drop()
            for worker in unfinished:
                worker.join(5.0)
            self._done.set()
            self._unregister()
        self._queue.close()
        self._bus.stop()

    def _register(self) -> None:
        """Show the workers to RQ's tools, and give up what earlier processes of their names left behind."""
        while not self._stop.requested:
            try:
                for worker in self._workers:
                    left = self._queue.lapse_of(worker.name)
                    if left:
                        log.warning("gave up leases of an earlier process", extra={"worker": worker.name, "runs": left})
                    self._queue.register(worker.name, 0)
            except RedisError as error:
                log.warning("waiting for Redis", extra={"reason": str(error)})
                self._stop.wait(0.5)
            else:
                return

    def _unregister(self) -> None:
        try:
            for worker in self._workers:
                self._queue.unregister(worker.name)
        except RedisError as error:
            log.info("left the registration to run out", extra={"reason": str(error)})

    def _beat(self) -> None:
        """Keep the leases, hear of cancels, and look whether the project's files have changed."""
        names = [worker.name for worker in self._workers]
        while not self._done.wait(min(1.0, self._config.lease_s / 4)):
            try:
                executions = [claim.execution for worker in self._workers for claim in worker.executions()]
                superseded, cancelled = self._queue.heartbeat(names, executions)
                self._pass_on(superseded, cancelled)
                self._look_at_project()
            except RedisError as error:
                log.warning("missed a heartbeat", extra={"reason": str(error)})
            except Exception:
                log.exception("the heartbeat stumbled")

    def _pass_on(self, superseded: set[str], cancelled: set[str]) -> None:
        for worker in self._workers:
            held = {str(claim.execution) for claim in worker.executions()}
            if held & cancelled:
                worker.cancel(held & cancelled)
            if held & superseded:
                worker.supersede(held & superseded)

    def _look_at_project(self) -> None:
        current = self._look()
        if current != self._stamp:
            self._stamp = current
            log.info("the project changed; new runs get new work-horses")
            for worker in self._workers:
                worker.renew_horse()

    def _answer_cancel(self, cancel: Cancel) -> dict[str, Any]:
        """Stop a run if it runs here."""
        cancelling = False
        for worker in self._workers:
            mine = {str(claim.execution) for claim in worker.executions() if claim.run_id == cancel.run_id}
            if mine:
                cancelling = True
                worker.cancel(mine)
        return {"run_id": cancel.run_id, "cancelling": cancelling}

    def _answer_list_workers(self, _: NoArguments) -> list[WorkerInfo]:
        return [worker.info() for worker in self._workers]
