"""How the rest of fpbus gets a bus: from a URL."""

from .address import BrokerAddress
from .client import Bus, Presence
from .paho_transport import PahoTransport


def open_bus(
    url: str, client_id: str, *, root: str = "", durable: bool = False, presence: Presence | None = None
) -> Bus:
    """Make a bus to the broker at `url`; it connects when started.

    A durable client has what was published for it while it was away, so its id must be its alone.
    """
    return Bus(PahoTransport(BrokerAddress.parse(url), client_id, durable=durable), root, presence)
