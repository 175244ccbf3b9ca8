"""What each account of the broker may say and hear: no more than its service really says and hears.

A device is told from another by its user name alone, which stands in the topics below `devices/`. Mosquitto compares
whole levels, so it cannot tell whose run a topic `pipelines/+/runs/<run>/result` is about: no device reads those, and
each has its answers below its own name (`reply_to`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from fpbus.schemas import Role, TriggerConfig, topic_filter, topics
from fpbus.schemas.triggers import reply_filter

#: Where devices publish what they measure and are answered: each below its own name.
DEVICES: Final = "devices"

_ALL_DEVICES: Final = f"{DEVICES}/#"
_NODES: Final = topics.node("+", "+", "#")
_LOG: Final = topics.log("+", "+")
#: Where `fpbus doctor` tries what the broker does; nobody else listens there.
_TRIALS: Final = topics.trial("+")

#: For every account of the services' listener: the answers to its own calls, by its own client id.
OWN_REPLIES: Final = topics.reply("%c")


class Account(NamedTuple):
    """A user of the broker, and the topic filters that it may read and write; those `outside` have no root."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    outside_reads: tuple[str, ...] = ()
    outside_writes: tuple[str, ...] = ()


def _service(role: Role, reads: tuple[str, ...], writes: tuple[str, ...]) -> Account:
    presence = topics.presence(role, "+")
    return Account(
        role.value,
        (topics.calls_to(role), presence, _TRIALS, *reads),
        (topics.reply("+"), presence, _TRIALS, *writes),
    )


SERVICES: Final = (
    _service(
        Role.DISPATCHER,
        reads=(topics.RUN, topics.RESULT, topics.RECORDED, _ALL_DEVICES),
        writes=(
            topics.STATUS,
            topics.RESULT,
            topics.rejected("+"),
            topics.REJECTED,
            topics.PRESSURE,
            topics.ASYNCAPI,
            topics.call(Role.RUNNER, "cancel"),
            _ALL_DEVICES,
        ),
    ),
    _service(
        Role.RUNNER,
        reads=(),
        writes=(topics.STATUS, topics.RESULT, _NODES, _LOG, topics.schema("+"), _ALL_DEVICES),
    ),
    _service(Role.RECORDER, reads=(topics.STATUS, topics.RESULT), writes=(topics.RECORDED, topics.latest("+"))),
    _service(
        Role.SCHEDULER,
        reads=(topics.STATUS, topics.rejected("+"), topics.REJECTED),
        writes=(topics.RUN, topics.call(Role.DISPATCHER, "submit")),
    ),
)

#: A person at the command line, or a program that steers: asks the services, and hears all that is said of runs.
OPERATOR: Final = Account(
    "operator",
    reads=("pipelines/#", topics.PRESENCE, topics.PRESSURE, topics.RECORDED, topics.REJECTED, topics.ASYNCAPI, _TRIALS),
    writes=(topics.RUN, topics.call("+", "+"), _TRIALS),
)


def services(triggers: Sequence[TriggerConfig]) -> list[Account]:
    """Return the accounts of the services of a project with these triggers: they hear and answer its devices."""
    heard = tuple(sorted({topic_filter(trigger.topic).mqtt for trigger in triggers}))
    answered = tuple(sorted({reply_filter(trigger.reply_to) for trigger in triggers if trigger.reply_to}))
    rights = {Role.DISPATCHER.value: (heard, answered), Role.RUNNER.value: ((), answered)}
    return [
        account._replace(outside_reads=reads, outside_writes=writes)
        for account in SERVICES
        for reads, writes in [rights.get(account.name, ((), ()))]
    ]


def device(name: str) -> Account:
    """Return the rights of a device: ask for runs, and whatever it likes below its own name."""
    own = f"{DEVICES}/{name}/#"
    return Account(name, reads=(own,), writes=(topics.RUN, own))


def acl_text(accounts: list[Account], root: str, patterns: tuple[str, ...] = ()) -> str:
    """Return Mosquitto's ACL file; what does not stand in it is not allowed. `root` is put before every topic."""
    before = f"{root.strip('/')}/" if root.strip("/") else ""
    lines = [f"pattern read {before}{pattern}" for pattern in patterns]
    for account in accounts:
        both = [name for name in account.reads if name in account.writes]
        lines += ["", f"user {account.name}"]
        lines += [f"topic readwrite {before}{name}" for name in both]
        lines += [f"topic read {before}{name}" for name in account.reads if name not in both]
        lines += [f"topic write {before}{name}" for name in account.writes if name not in both]
        lines += [f"topic read {name}" for name in account.outside_reads]
        lines += [f"topic write {name}" for name in account.outside_writes]
    return "\n".join(lines).strip() + "\n"


#: What both services do with Redis: read and write data by script, nothing that concerns the server or others' keys.
_COMMANDS: Final = (
    "-@all +@read +@write +@connection +@transaction -@dangerous +info +time +evalsha +script|load +script|exists"
)
#: All that a runner has to do with; the dispatcher's lease, and what it remembers of messages, are not among them.
_KEYS_OF_RUNNER: Final = (
    "rq:*",
    "fpbus:run:*",
    "fpbus:open",
    "fpbus:leases",
    "fpbus:ended",
    "fpbus:outbox*",
    "fpbus:held*",
    "fpbus:rate:*",
    "fpbus:queues",
    "fpbus:workers",
    "fpbus:doorbell:*",
    "fpbus:counters",
)
_KEYS_THAT_IT_READS: Final = ("fpbus:paused", "fpbus:limits")


def redis_keys(role: Role) -> tuple[str, ...]:
    """Return the patterns of keys that the user of a service may write."""
    return _KEYS_OF_RUNNER if role is Role.RUNNER else ("rq:*", "fpbus:*")


def redis_acl_text(hashes: dict[str, str]) -> str:
    """Return Redis' ACL file; `hashes` are the SHA-256 of the two users' passwords."""
    keys = {role: " ".join(f"~{key}" for key in redis_keys(role)) for role in (Role.DISPATCHER, Role.RUNNER)}
    keys[Role.RUNNER] += "".join(f" %R~{key}" for key in _KEYS_THAT_IT_READS)
    lines = ["user default off"]
    lines += [f"user {role} on #{hashes[role]} resetchannels {patterns} {_COMMANDS}" for role, patterns in keys.items()]
    return "\n".join(lines) + "\n"
