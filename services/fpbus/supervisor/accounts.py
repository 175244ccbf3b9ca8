"""Files that give each service and each device an account of its own on Mosquitto, and the services on Redis.

A password is made once and kept in `secrets/`; everything else is written anew each time. So a second call adds
devices and changes nobody's password, and one whose file was removed gets a new one.
"""

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fpbus.schemas import MAX_PAYLOAD, FpbusError, Role, TriggerConfig

from .rights import OPERATOR, OWN_REPLIES, SERVICES, acl_text, device, redis_acl_text, services

_DEVICE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
#: Begins the client ids of services: on the devices' listener the user name is the client id.
_OURS: Final = "fpbus-"
#: As `mosquitto_passwd` makes them; more rounds add nothing to 256 random bits.
_ROUNDS: Final = 101
_SALT_BYTES: Final = 12
_MAX_PACKET: Final = MAX_PAYLOAD + 64 * 1024

_MOSQUITTO: Final = """\
# Written by `fpbus acl`. Put the server's certificate and its key where it says certfile and keyfile.
# Each listener has its own accounts: no device can log in where the services do.
per_listener_settings true

# Services and operators.
listener {port}
certfile {folder}/server.crt
keyfile {folder}/server.key
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl

# Devices. The user name is the client id, so that nobody can end another's connection or take over its session.
listener {device_port}
certfile {folder}/server.crt
keyfile {folder}/server.key
allow_anonymous false
password_file {folder}/devices.passwords
acl_file {folder}/devices.acl
use_username_as_clientid true

# To have clients show a certificate as well, add to a listener:
#   cafile {folder}/clients.pem
#   require_certificate true

# What fpbus needs of a broker; compose/mosquitto.conf says why.
persistence true
persistence_location {folder}/data/
autosave_interval 1
max_queued_messages 500000
max_queued_bytes 268435456
max_inflight_messages 1000
max_packet_size {max_packet}
set_tcp_nodelay true
persistent_client_expiration 14d
"""


class DeviceNameError(FpbusError):
    """A name that no device can have."""

    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} cannot name a device.",
            "A name has up to 64 letters, digits, '_', '-' and '.', and begins neither with '-', '.' nor 'fpbus-'.",
        )


def write_accounts(  # noqa: PLR0917 (all of them are written)
    folder: Path,
    devices: list[str],
    root: str,
    port: int,
    device_port: int,
    triggers: Sequence[TriggerConfig] = (),
) -> list[Path]:
    """Write all files, for these devices and those that are there already; return their paths.

    Raises `DeviceNameError`, and `OSError` where nothing can be written.
    """
    for name in devices:
        if not _DEVICE_NAME.fullmatch(name) or name.startswith(_OURS):
            raise DeviceNameError(name)
    _make_folder(folder / "data")
    own = {account.name: _secret(folder / "secrets" / account.name) for account in (*SERVICES, OPERATOR)}
    known = {path.name for path in _make_folder(folder / "secrets" / "devices").iterdir()}
    theirs = {name: _secret(folder / "secrets" / "devices" / name) for name in sorted({*known, *devices})}
    redis = {role: _secret(folder / "secrets" / "redis" / role) for role in (Role.DISPATCHER, Role.RUNNER)}
    texts = {
        "acl": acl_text([*services(triggers), OPERATOR], root, (OWN_REPLIES,)),
        "passwords": _passwords(own),
        "devices.acl": acl_text([device(name) for name in theirs], root),
        "devices.passwords": _passwords(theirs),
        "mosquitto.conf": _MOSQUITTO.format(folder=folder, port=port, device_port=device_port, max_packet=_MAX_PACKET),
        "redis.acl": redis_acl_text({role: hashlib.sha256(word.encode()).hexdigest() for role, word in redis.items()}),
    }
    for name, text in texts.items():
        _write(folder / name, text)
    return [folder / name for name in texts] + sorted(
        path for path in (folder / "secrets").rglob("*") if path.is_file()
    )


def _secret(path: Path) -> str:
    """Return the password in a file, or make one and keep it there."""
    _make_folder(path.parent)
    if not path.exists():
        _write(path, f"{secrets.token_urlsafe(32)}\n")
    return path.read_text(encoding="utf-8").strip()


def _passwords(words: dict[str, str]) -> str:
    return "".join(f"{name}:{_hashed(word)}\n" for name, word in words.items())


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _make_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write(path: Path, text: str) -> None:
    """Write for this user alone; a reader sees the old file or the new one, never half of it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    new.replace(path)
