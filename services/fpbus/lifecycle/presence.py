"""What a service says of itself on `fpbus/services/{role}/{instance}/status`.

It also listens there. A will of an earlier connection of its own that comes late is put right, and so is what an
earlier process says. A birth of a later process with the same name means that two fight for one client id: not every
broker says so when it throws a client out, and each would come back for ever. The one that was started first gives way.
"""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from fpbus.bus import Bus, Delivery, Inbox, Will
from fpbus.schemas import ServiceStatus, WireError, decode, encode, topics

_VANISHED: Final = "vanished"

State = Literal["init", "ready", "degraded", "stopping", "gone"]


class ServicePresence:
    """The birth and the will of a service's connection, and every change of its state between them."""

    def __init__(self, role: str, instance: str, *, active: bool = True, lease: str | None = None) -> None:
        from importlib.metadata import version  # slow to import, and clients of the bus have no presence

        self._lock = threading.Lock()
        self._bus: Bus | None = None
        self._status = ServiceStatus(
            online=True,
            state="init",
            since=datetime.now(UTC),
            started=datetime.now(UTC),
            role=role,
            instance=instance,
            version=version("fpbus"),
            pid=os.getpid(),
            active=active,
            lease=lease,
        )
        self.on_rival: Callable[[str], None] = _nobody

    @property
    def topic(self) -> str:
        return topics.presence(self._status.role, self._status.instance)

    @property
    def state(self) -> str:
        return self._status.state

    def attach(self, bus: Bus) -> None:
        """Speak and listen on this connection, which is about to start."""
        self._bus = bus
        bus.subscribe(_Echo(self._hear), self.topic)

    def will(self) -> Will:
        """Return the will of the next connection, with a time stamp of its own."""
        with self._lock:
            self._status = msgspec.structs.replace(self._status, since=datetime.now(UTC))
            gone = msgspec.structs.replace(self._status, online=False, state="gone", active=False, reason=_VANISHED)
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
        if self._bus is not None and self._bus.connected:
            self._bus.publish(self.topic, new, retain=True)

    def _hear(self, delivery: Delivery) -> None:
        assert self._bus is not None
        self._bus.ack(delivery)
        try:
            heard = decode(delivery.payload, ServiceStatus)
        except WireError:
            return
        mine = self._status
        if heard.started is None or mine.started is None or mine.state == "gone":
            return
        if heard.started > mine.started and (heard.online or heard.reason == _VANISHED):
            # Also its will: our own coming back may just have thrown it out.
            self.on_rival(f"another {mine.role} named {mine.instance} has been started (pid {heard.pid})")
        elif heard.started < mine.started or not heard.online:  # of an earlier process, or of an earlier connection
            self._bus.publish(self.topic, mine, retain=True)


class _Echo(Inbox):
    """Hands over on the network thread; what it calls must not block."""

    def __init__(self, hear: Callable[[Delivery], None]) -> None:
        super().__init__()
        self._hear = hear

    def put(self, delivery: Delivery) -> None:
        self._hear(delivery)


def _nobody(_reason: str) -> None:
    """Stand in until somebody wants to hear of rivals."""
