"""Which processes make a bus, in the order of their start; they stop in the reverse order."""

import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from fpbus.lifecycle import GRACE_S, Settings
from fpbus.schemas import Role

# -P: the folder in which somebody types `fpbus up` is no place to import fpbus' own libraries from.
FPBUS: Final = (sys.executable, "-P", "-m", "fpbus")

# What feeds a service starts after it and stops before it, so nothing is sent to somebody who has left.
_START_ORDER: Final = (Role.RECORDER, Role.RUNNER, Role.DISPATCHER, Role.SCHEDULER)

_MARGIN_S: Final = 2.0  # a service gives up by itself when its grace is over


class Probe(msgspec.Struct, frozen=True):
    """How to see that a server works: it takes a connection on loopback, and answers the question if there is one."""

    port: int
    question: bytes = b""
    answer: bytes = b""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to keep. It is ready when its probe succeeds, or, without one, when it prints a line `ready ...`."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    """What is added to the environment of the supervisor."""
    probe: Probe | None = None
    grace_s: float = GRACE_S + _MARGIN_S
    detail: str = ""


def plan_services(
    settings: Settings,
    *,
    workers: int | None,
    activate_schedules: bool,
    profiles: Sequence[str] = (),
    runner_grace_s: float = GRACE_S,
    fpbus: tuple[str, ...] = FPBUS,
) -> list[ProcessSpec]:
    """Return the four services, and four for each profile, all with the same settings."""
    extras = {
        Role.RUNNER: ("--workers", str(workers)) if workers is not None else (),
        Role.SCHEDULER: ("--schedule",) if activate_schedules else (),
    }
    grace_s = {Role.RUNNER: runner_grace_s}
    return [
        _service(settings, role, profile, extras.get(role, ()), grace_s.get(role, GRACE_S), fpbus)
        for role in _START_ORDER
        for profile in (None, *profiles)
    ]


def _service(  # noqa: PLR0917 (all that differs)
    settings: Settings, role: Role, profile: str | None, extras: tuple[str, ...], grace_s: float, fpbus: tuple[str, ...]
) -> ProcessSpec:
    """Return one service; how many workers those of a profile have, it says itself."""
    if profile is not None:
        extras = ("--name", profile, *(extras if role is not Role.RUNNER else ()))
    return ProcessSpec(
        name=f"{role.value}-{profile}" if profile else role.value,
        command=(*fpbus, "serve", role.value, "--instance", settings.instance, *extras),
        environment=settings.environment(),
        grace_s=grace_s + _MARGIN_S,
        detail=" ".join(extras).removeprefix("--"),
    )
