"""Storage options: the names people know made those that fsspec's filesystems take, and what of them nobody may see.

Where a filesystem finds its credentials by itself (environment, profile, file, instance role), nothing is done here.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

MASK: Final = "***"

_FAMILIES: Final = {
    "s3a": "s3",
    "gs": "gcs",
    "abfs": "az",
    "abfss": "az",
    "https": "http",
}
#: The names that object_store and FlowerPower use, and fsspec's. A dot leads into a mapping.
_NAMES: Final[dict[str, dict[str, str]]] = {
    "s3": {
        "access_key_id": "key",
        "secret_access_key": "secret",
        "session_token": "token",
        "region": "client_kwargs.region_name",
    },
    "gcs": {"access_token": "token"},
    "github": {"sha": "ref"},
}
#: How long a filesystem waits by itself, in seconds; its own defaults are minutes.
_PATIENCE: Final[dict[str, dict[str, Any]]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 1}}},
    "gcs": {"requests_timeout": 15},
    "az": {"connection_timeout": 5, "read_timeout": 15},
}

_SECRET_NAME: Final = re.compile(
    r"key|secret|token|passw|credential|connection_string|auth|headers|cookie", re.IGNORECASE
)
_USER_IN_URL: Final = re.compile(  # a password may hold `/` and `@`
    r"(?P<scheme>[a-z][a-z0-9+.]*)://(?P<user>[^:/@\s'\"]*:(?!\d+/|:)[^\s'\"]*|[^/@\s'\"]+)@", re.IGNORECASE
)
_QUERY: Final = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]+?(?=::|[\s'\"]|$)")
_SHORTEST: Final = 4  # masking `a` everywhere would hide the sentence


class Address(msgspec.Struct, frozen=True):
    """Where a project is, and how to get in. Printing it shows no secret."""

    url: str
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"Address({shown(self.url)!r})"

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def protocol(self) -> str:
        """`s3` of `s3://bucket/shop`; the outermost of a chain such as `zip://shop::s3://bucket/shop.zip`."""
        return protocols_of(self.url)[0]

    def conceal(self, text: str) -> str:
        """Return the text without any secret of this address or of the environment."""
        secrets = {*_secrets_in(self.options), *_secrets_of_url(self.url), *_secrets_around()}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return shown(text)


def address(url: str, given: Mapping[str, Any] | None = None) -> Address:
    """Read storage options under either set of names; what fsspec itself would call an option wins."""
    first, *inner = protocols_of(url)
    given = {name: value for name, value in (given or {}).items() if name != "protocol" and value is not None}
    nested = {name: given.pop(name) for name in inner if isinstance(given.get(name), Mapping)}
    options = _translate(first, given)
    return Address(url, {**options, **{name: _translate(name, nested.get(name, {})) for name in inner}})


def shown(text: str) -> str:
    """Mask passwords and queries (signatures, SAS tokens) of the URLs in a text."""
    return _QUERY.sub(rf"\1?{MASK}", _USER_IN_URL.sub(_without_user, text))


def protocols_of(url: str) -> list[str]:
    """Return the protocols of a URL, the outermost first; a bare path is `file`."""
    return [_protocol_of(bit) for bit in url.split("::")]


def is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _protocol_of(bit: str) -> str:
    if "://" in bit:
        return bit.partition("://")[0]
    # In a chain `simplecache` alone is a protocol; fsspec reads it so, too.
    return bit if bit.isalpha() and bit.islower() else "file"


def _translate(protocol: str, given: Mapping[str, Any]) -> dict[str, Any]:
    family = _FAMILIES.get(protocol, protocol)
    names = _NAMES.get(family, {})
    options = {name: value for name, value in given.items() if name not in names}
    for name, target in names.items():
        if name in given:
            options = _put(options, target, given[name])
    if family == "s3":
        options = _switches_of_s3(options)
    for name, value in _PATIENCE.get(family, {}).items():
        own = options.get(name, value)
        options[name] = {**value, **own} if isinstance(value, dict) and isinstance(own, Mapping) else own
    return {**options, **_patience_of_http(options)} if family == "http" else options


def _put(options: dict[str, Any], target: str, value: Any) -> dict[str, Any]:
    section, _, name = target.rpartition(".")
    if section:
        return {**options, section: {name: value, **options.get(section, {})}}
    return {target: value, **options}


def _switches_of_s3(options: dict[str, Any]) -> dict[str, Any]:
    if (plain := options.pop("allow_http", None)) is not None:
        options.setdefault("use_ssl", not plain)
    if (any_certificate := options.pop("allow_invalid_certificates", None)) is not None:
        options = _put(options, "client_kwargs.verify", not any_certificate)
    return options


def _patience_of_http(options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        from aiohttp import ClientTimeout
    except ImportError:
        return {}  # opening the filesystem says what to install
    timeout = ClientTimeout(total=120, sock_connect=5, sock_read=15)
    return {"client_kwargs": {"timeout": timeout, **options.get("client_kwargs", {})}}


def _without_user(found: re.Match[str]) -> str:
    # In these two it says which repository, as in github://org:repo@main/folder.
    if found["scheme"].lower() in {"github", "gitlab"}:
        return found[0]
    return f"{found['scheme']}://{MASK}@"


def _secrets_in(options: Mapping[str, Any], *, inside: bool = False) -> Iterator[str]:
    for name, value in options.items():
        secret = inside or is_secret(name)
        if isinstance(value, Mapping):
            yield from _secrets_in(value, inside=secret)
        elif secret and isinstance(value, str):
            yield from _long_enough([value])


def _secrets_of_url(url: str) -> Iterator[str]:
    for found in _USER_IN_URL.finditer(url):
        if found["scheme"].lower() not in {"github", "gitlab"}:
            password = found["user"].partition(":")[2]
            yield from _long_enough([password, unquote(password)])
    for pair in re.split(r"[?&]", url)[1:]:
        value = pair.partition("=")[2].partition("::")[0]
        yield from _long_enough([value, unquote(value)])


def _secrets_around() -> Iterator[str]:
    for name, value in os.environ.items():
        # A path such as that of a key file is no secret, and helps who reads the error.
        if is_secret(name) and len(value) >= 2 * _SHORTEST and not value.startswith("/"):
            yield value


def _long_enough(secrets: Iterable[str]) -> Iterator[str]:
    return (secret for secret in secrets if len(secret) >= _SHORTEST)
