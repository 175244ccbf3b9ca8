"""One topic of one broker: each message is acknowledged when what it asked for has been done."""

import contextlib
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import typer

from fpbus.cli.connecting import client_settings
from fpbus.cli.output import tell

if TYPE_CHECKING:
    from fpbus.bus import BrokerAddress, Bus, Delivery, Inbox

_GLANCE_S: Final = 0.5
_NOTHING_CAME: Final = 5


@dataclass(frozen=True)
class Place:
    """What was typed about the broker and the subscription."""

    topic: str
    host: str | None
    port: int | None
    username: str | None
    password: str | None
    clean: bool
    qos: int
    client_id: str | None
    suffix: str | None

    def address(self, project: str | None) -> "BrokerAddress":
        """Return the broker; raise `SettingsError` where the way to it is open to others."""
        from fpbus.bus import Credentials
        from fpbus.lifecycle import broker_of

        settings = client_settings(project)
        if self.host is None and self.port is not None:
            raise typer.BadParameter("a port needs a host.", param_hint="--port")
        if self.host is not None:
            settings = replace(settings, mqtt_url=self._url(self.host))
        address = broker_of(settings, "mqtt://localhost:1883")
        return address.with_credentials(Credentials(username=self.username, password=self.password))

    def _url(self, host: str) -> str:
        if "://" in host:
            return host
        login = f"{quote(self.username, '')}:{quote(self.password or '', '')}@" if self.username else ""
        return f"mqtt://{login}{host}:{self.port or 1883}"

    def own_id(self) -> str:
        """Return the client id; a session that is to last needs one that was chosen."""
        if self.client_id is None and not self.clean:
            raise typer.BadParameter("a session that lasts needs an id of its own.", param_hint="--client-id")
        return (self.client_id or f"fpbus-listener-{secrets.token_hex(6)}") + (self.suffix or "")


@contextlib.contextmanager
def listening(place: Place, project: str | None) -> "Generator[tuple[Bus, Inbox]]":
    """Subscribe, and say so; connects again for ever."""
    from fpbus.bus import Inbox, open_bus
    from fpbus.schemas import topic_filter

    try:
        topic_filter(place.topic)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="TOPIC") from None
    address = place.address(project)
    bus, inbox = open_bus(address, place.own_id(), durable=not place.clean), Inbox()
    bus.listen(inbox, {place.topic: min(place.qos, 1)})  # at 2 a message would be confirmed before it is handled
    bus.start()
    try:
        while not bus.wait_connected(5.0):
            tell(f"No connection to {address} yet: {bus.trouble}. Trying on.")
        tell(f"Listening to {place.topic} at {address}. Ctrl-C ends it.")
        yield bus, inbox
    finally:
        bus.stop()


def serve(
    bus: "Bus", inbox: "Inbox", handle: "Callable[[Delivery], None]", count: int | None, timeout_s: float | None
) -> None:
    """Handle messages, one after another, and acknowledge each. Exit with 5 when none came in time."""
    handled = 0
    for delivery in _arriving(bus, inbox, timeout_s):
        handle(delivery)
        bus.ack(delivery)
        handled += 1
        if handled == count:
            return
    if not handled:
        tell("No message came.")
        raise typer.Exit(_NOTHING_CAME)


def _arriving(bus: "Bus", inbox: "Inbox", timeout_s: float | None) -> "Iterator[Delivery]":
    """Yield messages until none has come for `timeout_s`; tell when the connection goes and comes."""
    quiet, was_connected = 0.0, True
    while timeout_s is None or quiet < timeout_s:
        if bus.connected != was_connected:
            was_connected = not was_connected
            tell("Connected again." if was_connected else f"Connection lost: {bus.trouble}. Trying on.")
        arrived = inbox.take(1, _GLANCE_S)
        yield from arrived
        quiet = 0.0 if arrived else quiet + _GLANCE_S
