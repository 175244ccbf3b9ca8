"""Secrets in a configuration or a text, masked before anybody is shown it.

What a name says is a secret is one, with everything below it, and so is a password in any URL.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .credentials import MASK, is_secret

_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_SECRET_WORDS: Final = frozenset(
    [
        "password",
        "passwd",
        "passphrase",
        "pw",
        "pwd",
        "secret",
        "secrets",
        "token",
        "credential",
        "credentials",
        "authorization",
        "auth",
        "cookie",
        "headers",
        "apikey",
        "sig",
        "signature",
    ]
)
_SECRET_KEYS: Final = frozenset(
    ["api", "access", "account", "secret", "private", "shared", "storage", "master", "encryption", "signing"]
)
#: A name that ends so says where a secret is, or how long it lasts, and not what it is.
_ABOUT: Final = frozenset(
    ["file", "path", "dir", "name", "url", "uri", "env", "limit", "count", "length", "size", "timeout", "type"]
)
#: Here a `key` is one that opens something.
_CREDENTIALS: Final = "storage_options"

#: A password goes up to the last `@`, for people forget to quote one in it; digits before a `/` are a port.
_URL_LOGIN: Final = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z0-9+.-]+)://"
    r"(?:(?P<user>[^\s:/?#@'\"]*):(?!\d+/)(?P<password>[^\s'\"]*)@|(?P<only>[^\s/?#'\"]*)@)"
)
_QUERY_VALUE: Final = re.compile(r"(?<=[?&;])([A-Za-z0-9_.-]+)=([^&;#\s'\"]+)")
#: Here it says which repository: `github://org:repo@main/folder`.
_REPOSITORIES: Final = frozenset({"github", "gitlab"})
#: Here a lone name before the `@` is a token more often than a user.
_WEB: Final = re.compile(r"(?:git\+)?https?", re.IGNORECASE)


def masked(config: Any) -> Any:
    """Return a configuration, a Struct or what YAML holds, as plain values with every secret as `***`."""
    return masked_at((), msgspec.to_builtins(config))


def masked_at(key: tuple[str, ...], value: Any) -> Any:
    """Return a value with its secrets masked, as it may be shown where it stands at `key`."""
    if isinstance(value, Mapping):
        return {name: masked_at((*key, str(name)), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_at(key, item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if stands_at_secret(key):
        return MASK if value != "" else ""
    return mask_text(value) if isinstance(value, str) else value


def stands_at_secret(key: tuple[str, ...]) -> bool:
    """Tell whether what stands at a key, or below it, is a secret."""
    if _CREDENTIALS in key and any(is_secret(part) for part in key[key.index(_CREDENTIALS) + 1 :]):
        return True
    return any(_names_a_secret(part) for part in key)


def mask_text(text: str) -> str:
    """Mask passwords and signatures of all URLs in a text: `redis://u:***@h`, `https://h/x?token=***`."""
    if "://" not in text:
        return text
    return _QUERY_VALUE.sub(_without_value, _URL_LOGIN.sub(_without_login, text))


def _names_a_secret(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    joined = any(second == "key" and first in _SECRET_KEYS for first, second in itertools.pairwise(words))
    return joined or not _SECRET_WORDS.isdisjoint(words) or tuple(words[-2:]) == ("connection", "string")


def _without_login(found: re.Match[str]) -> str:
    scheme, user, only = found["scheme"], found["user"], found["only"]
    if scheme.lower() in _REPOSITORIES:
        return found[0]
    if only is not None:
        return f"{scheme}://{MASK}@" if _WEB.fullmatch(scheme) and only else found[0]
    return f"{scheme}://{user}:{MASK}@"


def _without_value(found: re.Match[str]) -> str:
    name = found[1]
    return f"{name}={MASK}" if _names_a_secret(name) or is_secret(name) else found[0]
