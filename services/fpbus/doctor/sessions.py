"""Does the broker keep messages for a service that is away: a small drama with a client that vanishes twice."""

import secrets
from typing import Final

from msgspec import Struct

from fpbus.bus import BrokerAddress, Looker, looking_at

from .findings import Finding

#: A little more than Mosquitto keeps for a client when nobody has told it otherwise: 1,000, and 20 on their way.
MESSAGES: Final = 1_100
_PATIENCE_S: Final = 3.0
_QUIET_S: Final = 0.4

_DURABLE: Final = "Use a broker that keeps sessions, such as Mosquitto. `fpbus.edge` sends again until accepted."


class Session(Struct, frozen=True, kw_only=True):
    """What came of it: was the session kept, how many of `MESSAGES`, and did an unconfirmed one come again."""

    kept: bool
    arrived: int
    redelivered: bool

    @property
    def queue_limit(self) -> int | None:
        """How many messages are kept, if that could be counted and is not enough."""
        return self.arrived if self.redelivered and self.arrived < MESSAGES else None


def look_at_session(address: BrokerAddress, topic: str) -> Session:
    """Subscribe, vanish, publish, come back without confirming, vanish, and come back. Leaves no session behind."""
    client_id = f"fpbus-doctor-{secrets.token_hex(6)}"
    try:
        _vanish_subscribed(address, client_id, topic)
        with looking_at(address, f"{client_id}-p") as publisher:
            publisher.publish(topic, *(b"%d" % number for number in range(MESSAGES)), timeout_s=_PATIENCE_S)
        kept, first = _come_back(address, client_id)
        return (
            _come_back_again(address, client_id, first) if kept else Session(kept=False, arrived=0, redelivered=False)
        )
    finally:
        with looking_at(address, client_id):  # a clean start ends the session
            pass


def _vanish_subscribed(address: BrokerAddress, client_id: str, topic: str) -> None:
    looker = Looker(address, client_id, durable=True)
    looker.open()
    looker.subscribe(topic)
    looker.vanish()


def _come_back(address: BrokerAddress, client_id: str) -> tuple[bool, set[bytes]]:
    looker = Looker(address, client_id, durable=True, clean=False)
    greeting = looker.open()
    messages = looker.take(1, _PATIENCE_S, _QUIET_S)
    looker.vanish()
    return greeting.session_present, {message.payload for message in messages}


def _come_back_again(address: BrokerAddress, client_id: str, first: set[bytes]) -> Session:
    looker = Looker(address, client_id, durable=True, clean=False)
    looker.open()
    arrived = set(first)
    redelivered = False
    while messages := looker.take(1, _PATIENCE_S, _QUIET_S):
        payloads = {message.payload for message in messages}
        redelivered |= bool(payloads & first)
        arrived |= payloads
        looker.ack(*messages)
    looker.close()
    return Session(kept=True, arrived=len(arrived), redelivered=redelivered)


def findings_of(session: Session) -> list[Finding]:
    """Say what it means for messages that come while a service is away."""
    if not session.kept or not session.arrived:
        return [
            Finding(
                area="broker",
                name="session",
                status="fault",
                message="The broker keeps nothing for a client that is away: what is published meanwhile is lost.",
                remedy=_DURABLE,
            )
        ]
    found = [
        Finding(area="broker", name="session", status="ok", message="Messages for a client that is away are kept.")
    ]
    return [*found, _of_redelivery(session), *([_of_queue(session)] if session.redelivered else [])]


def _of_redelivery(session: Session) -> Finding:
    if session.redelivered:
        message = "A message that was not confirmed comes again."
        return Finding(area="broker", name="redelivery", status="ok", message=message)
    return Finding(
        area="broker",
        name="redelivery",
        status="warning",
        message="A message that was not confirmed does not come again: who dies loses what is in hand.",
        remedy=_DURABLE,
    )


def _of_queue(session: Session) -> Finding:
    if session.queue_limit is None:
        message = f"At least {MESSAGES:,} messages are kept for a client that is away; how many more cannot be seen."
        return Finding(area="broker", name="queue", status="ok", message=message)
    return Finding(
        area="broker",
        name="queue",
        status="fault",
        message=f"Of {MESSAGES:,} messages for a client that was away {session.arrived:,} were kept; the others were "
        "confirmed to their publisher, and thrown away.",
        remedy="Mosquitto: `max_queued_messages 0` and `max_queued_bytes 268435456`. EMQX: `mqtt.max_mqueue_len`.",
    )
