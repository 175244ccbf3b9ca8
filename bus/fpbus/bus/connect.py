"""How the rest of fpbus gets a bus: from a URL, or an address with credentials."""

from .address import BrokerAddress
from .client import Bus, Presence
from .paho_transport import PahoTransport


def open_bus(
    where: str | BrokerAddress,
    client_id: str,
    *,
    root: str = "",
    durable: bool = False,
    presence: Presence | None = None,
) -> Bus:
    """Make a bus to the broker there; it connects when started.

    A durable client has what was published for it while it was away, so its id must be its alone: where there is a
    root, that is part of the id.
    """
    address = BrokerAddress.parse(where) if isinstance(where, str) else where
    return Bus(PahoTransport(address, _client_id(client_id, root), durable=durable), root, presence)


def _client_id(name: str, root: str) -> str:
    """Return `name@shop@profiles@gpu` below the root `shop/profiles/gpu`: an id is a level of its reply topic."""
    return "@".join([name, *(part for part in root.split("/") if part)])
