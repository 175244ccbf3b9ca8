"""What a look at one thing has found."""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

Area = Literal["broker", "redis", "project", "services", "disk"]
Status = Literal["ok", "warning", "fault", "skipped"]

#: As the contract has them: a server or a service does not do its part; the project or the machine is not right.
UNREACHABLE: Final = 5
NOT_RIGHT: Final = 8


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at. `skipped` could not be seen from here. `remedy` is what to do about the others."""

    area: Area
    name: str
    status: Status
    message: str
    remedy: str | None = None


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 without a fault, 5 when one lies in the broker, in Redis or in the services, else 8."""
    areas = {finding.area for finding in findings if finding.status == "fault"}
    if areas & {"broker", "redis", "services"}:
        return UNREACHABLE
    return NOT_RIGHT if areas else 0
