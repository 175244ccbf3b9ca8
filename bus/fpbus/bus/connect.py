"""How the rest of fpbus gets a bus: from a URL."""

from .address import BrokerAddress
from .client import Bus, Presence
from .paho_transport import PahoTransport


def open_bus(
    url: str, client_id: str, *, root: str = "", durable: bool = False, presence: Presence | None = None
) -> Bus:
    """Make a bus to the broker at `url`; it connects when started.

    A durable client has what was published for it while it was away, so its id must be its alone: where there is a
    root, that is part of the id.
    """
    transport = PahoTransport(BrokerAddress.parse(url), _client_id(client_id, root), durable=durable)
    return Bus(transport, root, presence)


def _client_id(name: str, root: str) -> str:
    """Return `name@shop@profiles@gpu` below the root `shop/profiles/gpu`: an id is a level of its reply topic."""
    return "@".join([name, *(part for part in root.split("/") if part)])
