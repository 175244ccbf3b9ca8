"""Look at everything at once, and put together what was found and what follows from it.

A broker or a Redis that is away is a finding, not an error. What is not seen by `LIMIT_S` is one, too.
"""

import secrets
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from fpbus.bus import BrokerAddress
from fpbus.lifecycle import Settings, broker_of
from fpbus.project import ProjectError, find_project, load_pipeline, load_project, pipeline_names
from fpbus.schemas import FpbusError, LimitsConfig, PipelineConfig, Role
from fpbus.supervisor.rights import OPERATOR, Account, redis_keys, services

from .access import accounts_for
from .broker import BrokerSeen, look_at_broker
from .disk import look_at_disks
from .findings import Finding
from .guarantees import Ground, Guarantee, guarantees_of
from .look import Look
from .project import look_at_project
from .redis_server import RedisSeen, look_at_redis
from .services import findings_of, read_statuses

LIMIT_S: Final = 30.0
_DEFAULT_BROKER: Final = "mqtt://localhost:1883"

Note = Callable[[str], None]


class Report(Struct, frozen=True, kw_only=True):
    """All findings, and what follows from them for each pipeline."""

    findings: list[Finding]
    guarantees: list[Guarantee]


class _Project(Struct, frozen=True, kw_only=True):
    """Those parts of a project that can be read; `pipeline check` says what is wrong with the others."""

    folder: Path | None = None
    limits: LimitsConfig = LimitsConfig()
    pipelines: dict[str, PipelineConfig] = {}

    @property
    def accounts(self) -> list[Account]:
        return [*services([trigger for one in self.pipelines.values() for trigger in one.triggers]), OPERATOR]


def examine(settings: Settings, note: Note, *, own_broker: bool = False) -> Report:
    """Look at broker, Redis, project, services and disks.

    `own_broker`: it is that of `fpbus up`, whose settings are known. `note` is told from several threads what is being
    looked at.
    """
    deadline = time.monotonic() + LIMIT_S
    project = _read_project(settings)
    broker = Look("broker", lambda: _look_at_broker(settings, project, note, own=own_broker))
    redis = Look("redis", lambda: _look_at_redis(settings, note))
    others = [
        Look("project", lambda: _look_at_project(project, note)),
        Look("services", lambda: _look_at_services(settings, note)),
        Look("disk", lambda: look_at_disks(settings)),
    ]
    seen = broker.wait(deadline, lambda late: BrokerSeen(findings=[late]))
    stored = redis.wait(deadline, lambda late: RedisSeen(findings=[late]))
    rest = [finding for look in others for finding in look.wait(deadline, lambda late: [late])]
    ground = _ground(seen, stored)
    return Report(
        findings=[*seen.findings, *stored.findings, *rest],
        guarantees=[
            guarantee
            for name, config in project.pipelines.items()
            for guarantee in guarantees_of(name, config, project.limits, ground)
        ],
    )


def _read_project(settings: Settings) -> _Project:
    try:
        folder = find_project(settings.project_dir)
    except ProjectError:
        return _Project()
    try:
        limits = load_project(folder).limits
    except ProjectError:
        return _Project(folder=folder)
    pipelines: dict[str, PipelineConfig] = {}
    for name in pipeline_names(folder):
        try:
            pipelines[name] = load_pipeline(folder, name)
        except ProjectError:
            continue
    return _Project(folder=folder, limits=limits, pipelines=pipelines)


def _look_at_broker(settings: Settings, project: _Project, note: Note, *, own: bool) -> BrokerSeen:
    try:
        address = broker_of(settings, _DEFAULT_BROKER)
    except FpbusError as error:
        fault = Finding(area="broker", name="connection", status="fault", message=str(error), remedy=error.hint)
        return BrokerSeen(findings=[fault])
    accounts = accounts_for(address.credentials.username, project.accounts)
    return look_at_broker(address, settings.root, project.limits.payload_bytes, accounts, note, own=own)


def _look_at_redis(settings: Settings, note: Note) -> RedisSeen:
    if not settings.redis_url:
        message = "FPBUS_REDIS_URL is not set, and no `fpbus up` is running here; Redis was not looked at."
        return RedisSeen(findings=[Finding(area="redis", name="connection", status="skipped", message=message)])
    user = settings.redis_username or urlsplit(settings.redis_url).username
    return look_at_redis(settings, redis_keys(Role.RUNNER if user == Role.RUNNER else Role.DISPATCHER), note)


def _look_at_project(project: _Project, note: Note) -> list[Finding]:
    if project.folder is None:
        message = "There is no project here, and nothing to check."
        return [Finding(area="project", name="check", status="skipped", message=message)]
    note("project: importing its code")
    return look_at_project(project.folder)


def _look_at_services(settings: Settings, note: Note) -> list[Finding]:
    note("services: asking who is there")
    try:
        address: BrokerAddress = broker_of(settings, _DEFAULT_BROKER)
        statuses = read_statuses(address, settings.root, f"fpbus-doctor-{secrets.token_hex(6)}")
    except FpbusError:
        message = "Without the broker nobody knows which services there are."
        return [Finding(area="services", name="presence", status="skipped", message=message)]
    return findings_of(statuses, version("fpbus"))


def _ground(broker: BrokerSeen, redis: RedisSeen) -> Ground:
    session = broker.session
    return Ground(
        sessions=session.kept and session.arrived > 0 if session else None,
        redelivery=session.redelivered if session else None,
        queue_limit=session.queue_limit if session else None,
        broker_disk=broker.on_disk,
        redis_disk=redis.appends,
        evicts=redis.evicts,
    )
