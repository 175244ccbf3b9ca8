"""What a service says of itself on `fpbus/services/{role}/{instance}/status`."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import msgspec

from fpbus.bus import Bus, Will
from fpbus.schemas import ServiceStatus, encode, topics

State = Literal["init", "ready", "degraded", "stopping", "gone"]


class ServicePresence:
    """The birth and the will of a service's connection, and every change of its state between them."""

    def __init__(self, role: str, instance: str, *, active: bool = True, lease: str | None = None) -> None:
        self._lock = threading.Lock()
        self._bus: Bus | None = None
        self._status = ServiceStatus(
            online=True,
            state="init",
            since=datetime.now(UTC),
            role=role,
            instance=instance,
            version=version("fpbus"),
            pid=os.getpid(),
            active=active,
            lease=lease,
        )
        self.on_change: Callable[[ServiceStatus], None] = _nobody

    @property
    def topic(self) -> str:
        return topics.presence(self._status.role, self._status.instance)

    @property
    def state(self) -> str:
        return self._status.state

    def attach(self, bus: Bus) -> None:
        self._bus = bus

    def will(self) -> Will:
        """Return the will of the next connection, with a time stamp of its own."""
        with self._lock:
            self._status = msgspec.structs.replace(self._status, since=datetime.now(UTC))
            gone = msgspec.structs.replace(self._status, online=False, state="gone", active=False, reason="vanished")
        return Will(self.topic, encode(gone))

    def birth(self) -> Will:
        return Will(self.topic, encode(self._status))

    def become(self, state: State, reason: str | None = None, **facts: bool | str | None) -> None:
        """Change the state and tell the bus; a state that it is in already is not told again."""
        with self._lock:
            new = msgspec.structs.replace(self._status, state=state, reason=reason, online=state != "gone", **facts)
            if new == self._status:
                return
            self._status = new
        self.on_change(new)
        if self._bus is not None and self._bus.connected:
            self._bus.publish(self.topic, new, retain=True)


def _nobody(_status: ServiceStatus) -> None:
    """Stand in until somebody wants to hear of changes."""
