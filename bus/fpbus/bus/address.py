"""Where the broker is, from `mqtt://user:password@host:1883` and its relatives."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from fpbus.schemas import FpbusError

from .credentials import Credentials

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_PROTOCOLS: Final = {"": None, "5": 5, "3.1.1": 4}


class AddressError(FpbusError):
    """A broker URL that cannot be used."""


@dataclass(frozen=True)
class BrokerAddress:
    """Host, port and how to speak there. `protocol` is 5, 4 (MQTT 3.1.1), or None: try 5, then 3.1.1."""

    host: str
    port: int
    tls: bool = False
    websockets: bool = False
    path: str = "/mqtt"
    credentials: Credentials = field(default_factory=Credentials)
    protocol: int | None = None

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read a URL with scheme `mqtt`, `mqtts`, `ws` or `wss`; `?protocol=3.1.1` or `5` fixes the version."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise AddressError(f"The host or the port in the broker URL {_masked(url)!r} cannot be read.") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise AddressError(
                f"{_masked(url)!r} is no broker URL.",
                "Set FPBUS_MQTT_URL to something like mqtt://user:password@host:1883 (or mqtts://, ws://, wss://).",
            )
        protocol = parse_qs(parts.query).get("protocol", [""])[0]
        if protocol not in _PROTOCOLS:
            raise AddressError(f"protocol={protocol} in the broker URL is neither 5 nor 3.1.1.")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme in {"mqtts", "wss"},
            websockets=parts.scheme in {"ws", "wss"},
            path=parts.path or "/mqtt",
            credentials=Credentials(
                username=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password else None,
            ),
            protocol=_PROTOCOLS[protocol],
        )

    def with_credentials(self, given: Credentials) -> "BrokerAddress":
        """Lay what is given over what the URL says."""
        return replace(self, credentials=given.over(self.credentials))

    @property
    def weakness(self) -> str | None:
        """Why nobody should send anything there: it is another machine, and the way to it is open."""
        return None if is_this_machine(self.host) else weakness_of(self.credentials, tls=self.tls)

    def __str__(self) -> str:
        """Write the URL without its password."""
        scheme = ("wss" if self.tls else "ws") if self.websockets else ("mqtts" if self.tls else "mqtt")
        user = f"{self.credentials.username}@" if self.credentials.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}"


def is_this_machine(host: str) -> bool:
    """Tell whether what is sent to this host stays on this machine; asks no name server."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def weakness_of(credentials: Credentials, *, tls: bool) -> str | None:
    """Say what is missing on the way to another machine; None when nothing is."""
    missing = [
        *([] if tls else ["TLS"]),
        *(["user and password"] if credentials.anonymous else []),
    ]
    return f"without {' and without '.join(missing)}" if missing else None


def _masked(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
