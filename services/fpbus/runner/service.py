"""The runner: some workers, one heartbeat for all their leases, and answers about them."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import RedisError

from fpbus.bus import Bus, CallError
from fpbus.lifecycle import ServicePresence, Stop
from fpbus.schemas import (
    CallCode,
    CallFailure,
    Cancel,
    NoArguments,
    Role,
    RunnerConfig,
    SetWorkers,
    WorkerInfo,
    WorkersSet,
)

from .crew import Crew
from .describing import Describing
from .queue import WorkQueue
from .stable import Stable
from .worker import Worker

log = logging.getLogger(__name__)

#: Returns something that differs when the project's files have changed.
Look = Callable[[], object]


class RunnerService:
    """One runner process: `workers` threads, each with a work-horse of its own."""

    def __init__(  # noqa: PLR0917 (its surroundings)
        self,
        bus: Bus,
        queue: WorkQueue,
        stable: Stable,
        config: RunnerConfig,
        folder: Path,
        look: Look,
        instance: str,
        presence: ServicePresence,
        stop: Stop,
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._config = config
        self._look = look
        self._instance = instance
        self._presence = presence
        self._stop = stop
        self._stamp = look()

        def hire(number: int) -> Worker:
            return Worker(f"{instance}/{number}", queue, stable, bus, stop, config.runs_per_horse)

        self._crew = Crew(queue, hire)
        self._describing = Describing(bus, stable, folder)
        self._done = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Return when all workers stand ready, or the process is told to stop. Raises `RedisTooOldError`."""
        self._bus.answer(
            Role.RUNNER,
            self._instance,
            {
                "cancel": (Cancel, self._answer_cancel),
                "list_workers": (NoArguments, self._answer_list_workers),
                "set_workers": (SetWorkers, self._answer_set_workers),
            },
        )
        self._bus.start()
        while not self._bus.wait_connected(0.1):
            if self._stop.requested:
                return
        self._wait_for_redis()
        self._heart.start()
        for worker in self._crew.workers:
            worker.wait_ready(20.0)
        self._describing.start()

    def stop(self) -> None:
        """Let each worker finish the run in hand; near the end of the grace period hand it back instead."""
        self._stop.request()
        self._describing.stop()
        if self._heart.is_alive():
            self._crew.disband(self._config.grace_s * 2 / 3)
            self._done.set()
        self._queue.close()
        self._presence.become("gone", active=False)
        self._bus.stop()

    def _wait_for_redis(self) -> None:
        """Hire the first workers as soon as Redis is there."""
        while not self._stop.requested:
            try:
                self._queue.check_server()
                self._queue.look_for_queues()
                self._crew.resize(self._config.workers)
            except RedisError as error:
                self._degrade(error)
                self._stop.wait(0.5)
            else:
                return

    def _beat(self) -> None:
        """Keep the leases, hear of cancels, and look for new queues and whether the project's files have changed."""
        while not self._done.wait(min(1.0, self._config.lease_s / 4)):
            try:
                self._crew.dismiss_gone()
                workers = self._crew.workers
                executions = [claim.execution for worker in workers for claim in worker.executions()]
                superseded, cancelled = self._queue.heartbeat([worker.name for worker in workers], executions)
                self._pass_on(superseded, cancelled)
                if self._queue.look_for_queues():
                    self._crew.show()
                self._be_well()
                self._look_at_project()
            except RedisError as error:
                self._degrade(error)
            except Exception:
                log.exception("the heartbeat stumbled")

    def _degrade(self, error: RedisError) -> None:
        """Say that Redis is away; runs in hand go on."""
        if self._stop.requested:
            return
        if self._presence.state != "degraded":
            log.warning("waiting for Redis", extra={"reason": str(error)})
        self._presence.become("degraded", f"Redis: {error}")

    def _be_well(self) -> None:
        if self._presence.state == "degraded" and not self._stop.requested:
            log.info("Redis is there again")
            self._presence.become("ready")

    def _pass_on(self, superseded: set[str], cancelled: set[str]) -> None:
        for worker in self._crew.workers:
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
            for worker in self._crew.workers:
                worker.renew_horse()
            self._describing.again()

    def _answer_cancel(self, cancel: Cancel) -> dict[str, Any]:
        """Stop a run if it runs here."""
        cancelling = False
        for worker in self._crew.workers:
            mine = {str(claim.execution) for claim in worker.executions() if claim.run_id == cancel.run_id}
            if mine:
                cancelling = True
                worker.cancel(mine)
        return {"run_id": cancel.run_id, "cancelling": cancelling}

    def _answer_list_workers(self, _: NoArguments) -> list[WorkerInfo]:
        return [worker.info() for worker in self._crew.workers]

    def _answer_set_workers(self, asked: SetWorkers) -> WorkersSet | None:
        """Have so many workers from now on; None when another runner is meant. A repeat changes nothing."""
        if asked.instance != self._instance:
            return None
        try:
            before = self._crew.resize(asked.workers)
        except RedisError as error:
            message = f"Redis does not do its part: {error}."
            raise CallError(CallFailure(code=CallCode.UNAVAILABLE, message=message, hint="Ask again later.")) from error
        log.info("has other workers", extra={"before": before, "now": asked.workers})
        return WorkersSet(instance=self._instance, before=before, workers=asked.workers)
