"""Which services there are, from what they leave on the bus about themselves."""

from datetime import UTC, datetime, timedelta
from typing import Final

from fpbus.bus import Bus, Inbox
from fpbus.schemas import ServiceStatus, WireError, decode, topics

#: Retained messages come at once, one after the other; when none came for this long, that was all.
_QUIET_S: Final = 0.2

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


class Roster:
    """The last word of every service; kept up to date from the first look on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbox: Inbox | None = None
        self._known: dict[str, ServiceStatus] = {}

    def read(self) -> list[ServiceStatus]:
        """Return the status of each service that was ever seen on this bus, by role and instance."""
        if self._inbox is None:
            self._inbox = Inbox()
            self._bus.subscribe(self._inbox, topics.PRESENCE)
        while news := self._inbox.take(256, _QUIET_S):
            for delivery in news:
                self._note(delivery.topic, delivery.payload)
                self._bus.ack(delivery)
        return sorted(self._known.values(), key=lambda status: (status.role, status.instance))

    def _note(self, topic: str, payload: bytes) -> None:
        try:
            self._known[topic] = decode(payload, ServiceStatus)
        except WireError:  # cleared by hand, or of a version that this one cannot read
            self._known.pop(topic, None)


def last_seen(statuses: list[ServiceStatus], role: str, now: datetime) -> str:
    """Say in a sentence what is known of a service that did not answer."""
    of_role = [status for status in statuses if status.role == role]
    if not of_role:
        return "It has never been seen on this bus."
    online = [status for status in of_role if status.online]
    if online:
        reason = f": {online[0].reason}" if online[0].reason else ""
        return f"It is online ({online[0].state}{reason}), as {online[0].instance}."
    # A last will repeats the time of the birth that it belongs to; nobody knows when exactly it vanished.
    return f"It was last seen connecting {_ago(now - max(status.since for status in of_role))}."


def _ago(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def utc_now() -> datetime:
    return datetime.now(UTC)
