"""Are the four services there, well, of one version, and as many as there should be."""

from collections.abc import Sequence
from typing import Final

from fpbus.bus import BrokerAddress, looking_at
from fpbus.schemas import Role, ServiceStatus, WireError, decode, topics

from .findings import Finding, Status

#: One of these is active at a time; a second one waits.
_ALONE: Final = (Role.DISPATCHER, Role.RECORDER)
_WITHOUT: Final = {
    Role.DISPATCHER: "messages wait at the broker",
    Role.RUNNER: "accepted runs wait",
    Role.RECORDER: "results wait, and are not remembered",
    Role.SCHEDULER: "no schedule fires",
}


def read_statuses(address: BrokerAddress, root: str, client_id: str) -> list[ServiceStatus]:
    """Return what each service last said of itself. Raises `BrokerAwayError` or `BrokerRefusedError`."""
    before = f"{root.strip('/')}/" if root.strip("/") else ""
    known: dict[str, ServiceStatus] = {}
    with looking_at(address, client_id) as looker:
        looker.subscribe(before + topics.PRESENCE)
        for message in looker.take(10_000, 2.0, quiet_s=0.4):
            try:
                known[message.topic] = decode(message.payload, ServiceStatus)
            except WireError:  # cleared by hand, or of a version that this one cannot read
                known.pop(message.topic, None)
    return list(known.values())


def findings_of(statuses: Sequence[ServiceStatus], own_version: str) -> list[Finding]:
    """Say what is wrong with the services."""
    found = [finding for role in Role for finding in _of_role(role, [one for one in statuses if one.role == role])]
    return [*found, *_of_versions([one for one in statuses if one.online], own_version)]


def _found(name: str, status: Status, message: str, remedy: str | None = None) -> Finding:
    return Finding(area="services", name=name, status=status, message=message, remedy=remedy)


def _of_role(role: Role, ours: Sequence[ServiceStatus]) -> list[Finding]:
    active = [one for one in ours if one.online and one.active]
    if not active:
        waits = any(one.online for one in ours)
        message = f"No {role} is {'active, only a standby' if waits else 'there'}: {_WITHOUT[role]}."
        return [_found(role, "fault", message, f"Start one: fpbus serve {role}, or `fpbus up` for all.")]
    found: list[Finding] = []
    if role in _ALONE and len(active) > 1:
        names = ", ".join(one.instance for one in active)
        message = f"{len(active)} of them say that they are active: {names}. One of them is dead or about to stop."
        remedy = "Look again in half a minute. If it stays so, they have different Redis servers, databases or roots."
        found.append(_found(role, "fault", message, remedy))
    found += [_unwell(role, one) for one in active if one.state != "ready"]
    return found or [_found(role, "ok", f"{_instances(active)} ready.")]


def _instances(active: Sequence[ServiceStatus]) -> str:
    names = ", ".join(one.instance for one in active)
    return f"{names} {'is' if len(active) == 1 else 'are'}"


def _unwell(role: Role, one: ServiceStatus) -> Finding:
    reason = f": {one.reason}" if one.reason else ""
    status: Status = "fault" if one.state == "degraded" else "warning"
    remedy = "It goes on by itself when that has been put right." if one.state == "degraded" else None
    return _found(role, status, f"{one.instance} is {one.state}{reason}.", remedy)


def _of_versions(online: Sequence[ServiceStatus], own_version: str) -> list[Finding]:
    others = [one for one in online if one.version != own_version]
    if not others:
        return []
    names = ", ".join(f"{one.role} {one.instance} {one.version}" for one in others)
    message = f"This is fpbus {own_version}, and there are: {names}."
    return [_found("versions", "warning", message, "Install the same version everywhere, the runners first.")]
