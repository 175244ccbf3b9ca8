"""How to get to the broker and to Redis: the addresses with their credentials, refused when the way is open to others.

On another machine both need TLS and a login, because who can send to them can run pipelines.
"""

import logging
import re
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from fpbus.bus import BrokerAddress, Credentials, CredentialsError, is_this_machine, tls_trouble, weakness_of
from fpbus.schemas import FpbusError

from .settings import Settings, SettingsError

log = logging.getLogger(__name__)

_LOGIN: Final = re.compile(r"(?<=://)[^/?#]*@")


class RedisRefusedError(FpbusError):
    """A Redis that will not let us in, however long we wait."""

    exit_code = 5


def broker_of(settings: Settings, default: str | None = None) -> BrokerAddress:
    """Return where the broker is, and how to get in; without a URL it is at `default`.

    Raises `SettingsError` for one on another machine without TLS or without a login, `CredentialsError` for files
    that cannot be used.
    """
    address = BrokerAddress.parse(settings.mqtt_url or default or settings.need("mqtt_url"))
    address = address.with_credentials(settings.credentials("mqtt"))
    if address.weakness and not settings.insecure_allowed:
        raise _insecure(f"The broker {address}", address.weakness, "FPBUS_MQTT_URL", "mqtts://")
    _check_files(address.credentials, tls=address.tls)
    return address


@dataclass(frozen=True)
class RedisAddress:
    """`url` has no login any more; it is in `options`, which redis-py takes beside the URL."""

    url: str
    options: dict[str, Any]


def redis_of(settings: Settings) -> RedisAddress:
    """Return where Redis is, and how to get in. Raises as `broker_of` does."""
    url = settings.need("redis_url")
    parts, host = _read(url)
    in_url = Credentials(
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        cert_file="in the URL" if "ssl_certfile=" in parts.query else None,
    )
    credentials, tls = settings.credentials("redis").over(in_url), parts.scheme == "rediss"
    local = parts.scheme == "unix" or is_this_machine(host or "localhost")
    weakness = None if local else weakness_of(credentials, tls=tls)
    shown = _LOGIN.sub("", url.partition("?")[0])
    if weakness and not settings.insecure_allowed:
        raise _insecure(f"The Redis {shown}", weakness, "FPBUS_REDIS_URL", "rediss://")
    own = replace(credentials, cert_file=settings.redis_cert_file)
    _check_files(own, tls=tls)
    return RedisAddress(_LOGIN.sub("", url), _options(own, tls=tls))


def _read(url: str) -> tuple[SplitResult, str | None]:
    """Take a URL apart; an error shows nothing of it, for what cannot be read may be a password."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises for what is no number)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in {"redis", "rediss", "unix"} or "@" in parts.path:
        raise SettingsError(
            "FPBUS_REDIS_URL is no Redis URL.",
            "It looks like rediss://user:password@host:6379/0, or unix:///run/redis.sock; in a password, '/' is "
            "written %2F and '@' %40.",
        )
    return parts, parts.hostname


def redis_refusal(error: BaseException, url: str) -> RedisRefusedError | None:
    """Explain what redis-py raised when waiting will not help; None when it may."""
    where = url.partition("?")[0]
    trouble = tls_trouble(error, "FPBUS_REDIS")
    if trouble is not None:
        return RedisRefusedError(f"No connection to {where}: {trouble.reason}.", trouble.hint)
    if any(kind.__name__ == "AuthenticationError" for kind in type(error).__mro__):
        return RedisRefusedError(
            f"{where} does not let us in: {error}",
            "Check FPBUS_REDIS_USERNAME and FPBUS_REDIS_PASSWORD_FILE, or user and password in FPBUS_REDIS_URL, or "
            "the same keys in conf/project.yml.",
        )
    return None


def loose_files(settings: Settings) -> list[str]:
    """Return a sentence for each file with a secret that every user of this machine can read."""
    files = [path for server in ("mqtt", "redis") for path in settings.credentials(server).loose_files()]
    return [f"{path} can be read by every user of this machine; `chmod o= {path}` ends that." for path in files]


class _Login:
    """Asked by redis-py for each connection, so that a password that was replaced is used."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._password = ""

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            self._password = self._credentials.read_password() or ""
        except CredentialsError as error:  # it is being replaced
            log.warning("used the last password again: %s", error)
        return (self._credentials.username, self._password) if self._credentials.username else (self._password,)


def _options(credentials: Credentials, *, tls: bool) -> dict[str, Any]:
    login = credentials.username or credentials.password or credentials.password_file
    files = {
        "ssl_ca_certs": credentials.ca_file,
        "ssl_certfile": credentials.cert_file,
        "ssl_keyfile": credentials.key_file,
    }
    return {
        **({"credential_provider": _Login(credentials)} if login else {}),
        **({name: path for name, path in files.items() if path} if tls else {}),
    }


def _check_files(credentials: Credentials, *, tls: bool) -> None:
    credentials.read_password()
    if tls:
        credentials.tls_context()


def _insecure(what: str, weakness: str, setting: str, scheme: str) -> SettingsError:
    return SettingsError(
        f"{what} is on another machine, {weakness}; others could read what is said there, and run pipelines.",
        f"Use {scheme} and a login in {setting}. If the network is yours alone, say `allow_insecure: true` in "
        "conf/project.yml, or FPBUS_ALLOW_INSECURE=1.",
    )
