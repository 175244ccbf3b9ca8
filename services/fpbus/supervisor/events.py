"""What the supervisor tells of itself, for a screen or a test."""

import msgspec

from fpbus.lifecycle import Settings


class ServerChosen(msgspec.Struct, frozen=True):
    """Which program is the broker or the Redis, where, and what it promises. `url` has no password in it."""

    name: str
    program: str
    url: str
    promise: str


class ProcessStarted(msgspec.Struct, frozen=True):
    name: str
    pid: int
    detail: str


class ProcessReady(msgspec.Struct, frozen=True):
    name: str
    seconds: float


class ProcessDied(msgspec.Struct, frozen=True):
    """A process ended by itself; `code` is its exit code, or minus the number of the signal that killed it."""

    name: str
    code: int
    restart_in_s: float


class AllReady(msgspec.Struct, frozen=True):
    """Everything works for the first time; `settings` are those that the services were given."""

    seconds: float
    settings: Settings


class Stopping(msgspec.Struct, frozen=True):
    pass


class ProcessStopped(msgspec.Struct, frozen=True):
    name: str


Event = ServerChosen | ProcessStarted | ProcessReady | ProcessDied | AllReady | Stopping | ProcessStopped
