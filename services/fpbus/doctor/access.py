"""May this account do what it is for. Nothing is published: the broker is asked, and its answer is enough.

MQTT 5 alone has such answers. On subscriptions Mosquitto says yes to everything, and then lets nothing through.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from fpbus.bus import BrokerAddress, looking_at
from fpbus.supervisor.rights import Account

from .findings import Finding

_AT_A_TIME: Final = 8  # brokers that receive 20 at once are common
_FAILURE: Final = 0x80
_REMEDY: Final = "`fpbus acl` writes the rights that each account needs; FPBUS_MQTT_USERNAME says which one this is."


def accounts_for(user: str | None, all_accounts: Sequence[Account]) -> list[Account]:
    """Return the account of that name; one of another name has to do for all of them."""
    return [account for account in all_accounts if account.name == user] or list(all_accounts)


def look_at_rights(address: BrokerAddress, root: str, accounts: Sequence[Account]) -> list[Finding]:
    """Ask for each topic that these accounts write and read."""
    before = f"{root.strip('/')}/" if root.strip("/") else ""
    name = f"the {accounts[0].name}" if len(accounts) == 1 else "fpbus"
    writes = _all([*[before + topic for one in accounts for topic in one.writes], *_outside(accounts, "writes")])
    reads = _all([*[before + topic for one in accounts for topic in one.reads], *_outside(accounts, "reads")])
    with looking_at(address, f"fpbus-doctor-{secrets.token_hex(6)}") as looker:
        if not looker.greeting.speaks_5:
            return [_skipped("rights", "MQTT 3.1.1 has no words for what is not allowed; rights were not tried.")]
        codes = looker.subscribe(*reads, qos=0)
        denied_reads = [topic for topic, code in zip(reads, codes, strict=True) if code >= _FAILURE]
        highest_qos = looker.greeting.highest_qos
    found = [_finding("subscribe", name, denied_reads, len(reads))]
    if highest_qos < 2:
        return [*found, _skipped("publish", "The broker takes no QoS 2; rights to publish were not tried.")]
    return [*found, _finding("publish", name, _denied_writes(address, writes), len(writes))]


def _denied_writes(address: BrokerAddress, filters: Sequence[str]) -> list[str]:
    denied: list[str] = []
    for first in range(0, len(filters), _AT_A_TIME):
        some = filters[first : first + _AT_A_TIME]
        with looking_at(address, f"fpbus-doctor-{secrets.token_hex(6)}") as looker:
            answers = looker.may_publish(*[_one_of(name) for name in some])
        denied += [name for name in some if not answers.get(_one_of(name), True)]
    return denied


def _one_of(name: str) -> str:
    """Return a topic that the filter matches, and that nobody uses."""
    return name.replace("+", "fpbus-doctor").replace("#", "fpbus-doctor")


def _outside(accounts: Sequence[Account], what: str) -> list[str]:
    return [topic for one in accounts for topic in getattr(one, f"outside_{what}")]


def _all(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _skipped(name: str, message: str) -> Finding:
    return Finding(area="broker", name=name, status="skipped", message=message)


def _finding(verb: str, who: str, denied: list[str], count: int) -> Finding:
    if denied:
        message = f"This account may not {verb} on {', '.join(denied)}; {who} has to."
        return Finding(area="broker", name=verb, status="fault", message=message, remedy=_REMEDY)
    message = f"This account may {verb} on all {count} topics where {who} does."
    if verb == "subscribe":
        message = f"The broker grants all {count} subscriptions of {who}. Mosquitto grants also what it is silent on."
    return Finding(area="broker", name=verb, status="ok", message=message)
