"""MQTT for the rest of fpbus: one client, one in-memory twin, one embedded broker, and trace context."""

from typing import TYPE_CHECKING, Any

from .address import AddressError as AddressError
from .address import BrokerAddress as BrokerAddress
from .address import is_this_machine as is_this_machine
from .address import weakness_of as weakness_of
from .client import Answerer as Answerer
from .client import Bus as Bus
from .client import CallError as CallError
from .client import NoAnswerError as NoAnswerError
from .client import NotAllowedError as NotAllowedError
from .client import Presence as Presence
from .client import TopicError as TopicError
from .connect import open_bus as open_bus
from .credentials import Credentials as Credentials
from .credentials import CredentialsError as CredentialsError
from .inbox import Inbox as Inbox
from .inbox import WakingInbox as WakingInbox
from .looking import BrokerAwayError as BrokerAwayError
from .looking import Greeting as Greeting
from .looking import Looker as Looker
from .looking import looking_at as looking_at
from .memory import MemoryBroker as MemoryBroker
from .memory import MemoryTransport as MemoryTransport
from .refusal import BrokerRefusedError as BrokerRefusedError
from .tls import tls_trouble as tls_trouble
from .transport import Delivery as Delivery
from .transport import Properties as Properties
from .transport import Sending as Sending
from .transport import Transport as Transport
from .transport import TransportStoppedError as TransportStoppedError
from .transport import Will as Will

if TYPE_CHECKING:
    from .tracing import Span as Span


def __getattr__(name: str) -> Any:
    """Load OpenTelemetry for those who trace only; the command line starts without it."""
    if name == "Span":
        from .tracing import Span

        return Span
    raise AttributeError(name)
