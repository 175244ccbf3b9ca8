"""`fpbus up`: one thread that starts everything, looks after it, and stops it in the reverse order."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from fpbus.lifecycle import GRACE_S, Settings
from fpbus.schemas import FpbusError

from .claim import FOLDER, Claim, Running
from .events import AllReady, Event, ProcessStopped, ServerChosen, Stopping
from .keeper import Keeper
from .plan import FPBUS, ProcessSpec, plan_services
from .servers import Programs, Server, choose_broker, choose_redis, find_programs, without_password
from .signals import Signals

_START_S: Final = 60.0
_LAST_WORDS: Final = 8


class StartError(FpbusError):
    """A process did not come up; what it said last is in the sentence."""

    def __init__(self, keeper: Keeper, what: str) -> None:
        words = "".join(f"\n  {line}" for line in keeper.log.last_words(_LAST_WORDS))
        super().__init__(f"The {keeper.spec.name} {what}.{words}", f"All that it wrote is in {keeper.log.path}.")


class Supervisor:
    """Runs a project's bus on this machine. `tell` hears of everything; what it raises as `OSError` is ignored.

    `programs` and `fpbus` say which servers and which command to start; tests put theirs there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int | None,
        activate_schedules: bool,
        profiles: Sequence[str] = (),
        runner_grace_s: float = GRACE_S,
        tell: Callable[[Event], None],
        programs: Programs | None = None,
        fpbus: tuple[str, ...] = FPBUS,
    ) -> None:
        self._settings = replace(settings, project=str(settings.project_dir))
        self._folder = settings.project_dir / FOLDER
        self._workers = workers
        self._activate_schedules = activate_schedules
        self._profiles = profiles
        self._runner_grace_s = runner_grace_s
        self._hear = tell
        self._programs = programs or find_programs()
        self._fpbus = fpbus
        self._claim = Claim(settings.project_dir)
        self._signals = Signals()
        self._keepers: list[Keeper] = []
        self._started = datetime.now(UTC)

    def run(self) -> None:
        """Start everything, keep it alive, and return after a clean stop (SIGINT, SIGTERM or SIGHUP).

        Call it once, on the main thread. Raises `AlreadyRunningError`, `MissingServerError` or `StartError`;
        nothing is left running then.
        """
        began = time.monotonic()
        with self._signals, self._claim:
            self._claim.end_leftovers()
            servers = self._choose_servers()
            try:
                self._start([server.process for server in servers if server.process])
                self._start(self._plan_services())
                if not self._signals.stop_requests:
                    self._tell(AllReady(time.monotonic() - began, self._settings))
                while not self._signals.stop_requests:
                    self._look_after()
            finally:
                self._stop()

    def _choose_servers(self) -> list[Server]:
        broker = choose_broker(self._settings, self._programs, self._folder)
        redis = choose_redis(self._settings, self._programs, self._folder)
        for name, server in (("broker", broker), ("redis", redis)):
            self._tell(ServerChosen(name, server.program, without_password(server.url), server.promise))
        self._settings = replace(self._settings, mqtt_url=broker.url, redis_url=redis.url)
        return [broker, redis]

    def _plan_services(self) -> list[ProcessSpec]:
        return plan_services(
            self._settings,
            workers=self._workers,
            activate_schedules=self._activate_schedules,
            profiles=self._profiles,
            runner_grace_s=self._runner_grace_s,
            fpbus=self._fpbus,
        )

    def _start(self, specs: list[ProcessSpec]) -> None:
        """Start these at once and return when everything works, or when told to stop."""
        self._keepers += [Keeper(spec, self._folder / "logs", self._tell) for spec in specs]
        deadline = time.monotonic() + _START_S
        while not self._signals.stop_requests and not all(keeper.ready for keeper in self._keepers):
            self._look_after()
            self._check_start(deadline)

    def _check_start(self, deadline: float) -> None:
        """Give up on what ended by itself: it would do so again. What was killed is started again."""
        for keeper in self._keepers:
            if keeper.last_code is not None and keeper.last_code >= 0:
                raise StartError(keeper, f"ended with code {keeper.last_code} before everything worked")
            if not keeper.ready and time.monotonic() > deadline:
                raise StartError(keeper, f"did not get ready within {_START_S:g} s")

    def _look_after(self) -> None:
        """Wait until there may be something to do, and do it."""
        waits = [wait for keeper in self._keepers if (wait := keeper.due(time.monotonic())) is not None]
        self._signals.wait(min(waits, default=None))
        for keeper in self._keepers:
            keeper.look(time.monotonic())
        self._claim.write(self._state())

    def _state(self) -> Running:
        return Running(
            pid=os.getpid(),
            started=self._started,
            mqtt_url=self._settings.need("mqtt_url"),
            redis_url=self._settings.need("redis_url"),
            processes={keeper.spec.name: keeper.child for keeper in self._keepers if keeper.child},
        )

    def _stop(self) -> None:
        """End one after the other, what feeds the others first; a second request to stop kills the rest."""
        self._tell(Stopping())
        for keeper in reversed(self._keepers):
            if not keeper.child:
                continue
            keeper.terminate()
            deadline = time.monotonic() + keeper.spec.grace_s
            while keeper.alive and self._signals.stop_requests < 2 and time.monotonic() < deadline:
                self._signals.wait(0.1)
            keeper.finish()
            self._tell(ProcessStopped(keeper.spec.name))

    def _tell(self, event: Event) -> None:
        with contextlib.suppress(OSError):  # a screen that is gone is no reason to stop the bus
            self._hear(event)
