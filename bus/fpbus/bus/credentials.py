"""What opens a server's door: user and password, and the files of TLS. The same for the broker and for Redis.

Files are read anew for each connection, so that a password or a certificate can be replaced while a service runs.
"""

import os
import ssl
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fpbus.schemas import FpbusError

_PARTS: Final = ("username", "password", "password_file", "ca_file", "cert_file", "key_file")
_OTHERS_READ: Final = stat.S_IROTH
_LONGEST: Final = 65_535  # bytes of a password in MQTT


class CredentialsError(FpbusError):
    """A file of credentials that cannot be used; the sentence names the setting."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """How to get in. `prefix`, such as FPBUS_MQTT, begins the names of the settings, for those who read errors."""

    prefix: str = "FPBUS_MQTT"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @property
    def anonymous(self) -> bool:
        return not (self.username or self.password or self.password_file or self.cert_file)

    def over(self, below: "Credentials") -> "Credentials":
        """Lay these over others: a password, or its file, replaces password and file; all else one by one."""
        told = {name: value for name in _PARTS if (value := getattr(self, name))}
        if "password" in told or "password_file" in told:
            below = replace(below, password=None, password_file=None)
        return replace(below, prefix=self.prefix, **told)

    def read_password(self) -> str | None:
        """Return the password, from its file if there is one, without the end of its line.

        Raises `CredentialsError` for a file that cannot be read or is empty.
        """
        if self.password_file is None:
            return self.password
        where = f"The password file {self.password_file} ({self.prefix}_PASSWORD_FILE)"
        try:
            text = Path(self.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise CredentialsError(f"{where} cannot be read: {_words(error)}.", _WHO_READS) from error
        except UnicodeDecodeError:
            raise CredentialsError(f"{where} is no text.") from None
        if not text or len(text.encode()) > _LONGEST or "\n" in text:
            raise CredentialsError(f"{where} does not hold one line with a password.")
        return text

    def tls_context(self) -> ssl.SSLContext:
        """Return what a TLS connection is made with; raise `CredentialsError` for files that cannot be used."""
        if self.key_file and not self.cert_file:
            raise CredentialsError(
                f"{self.prefix}_KEY_FILE is set and {self.prefix}_CERT_FILE is not; a key needs its certificate."
            )
        self._check_readable()
        context = self._trusting()
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_passphrase)
            except (ssl.SSLError, ValueError) as error:
                raise CredentialsError(
                    f"{self.cert_file} and {self.key_file or 'the key in it'} ({self.prefix}_CERT_FILE, "
                    f"{self.prefix}_KEY_FILE) are no certificate and its key: {_words(error)}.",
                    "Both have to be PEM, the key without a passphrase.",
                ) from error
        return context

    def _trusting(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise CredentialsError(f"{self.ca_file} ({self.prefix}_CA_FILE) holds no certificate in PEM.") from error
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    def _check_readable(self) -> None:
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            try:
                if path:
                    Path(path).read_bytes()
            except OSError as error:
                setting = f"{self.prefix}_{name.upper()}"
                raise CredentialsError(f"{path} ({setting}) cannot be read: {_words(error)}.", _WHO_READS) from error

    def loose_files(self) -> list[str]:
        """Return the files with secrets that every user of this machine can read."""
        secret = [path for path in (self.password_file, self.key_file) if path]
        return [path for path in secret if os.name == "posix" and _mode(path) & _OTHERS_READ]


_WHO_READS: Final = "It has to be there, and the user who runs fpbus has to be allowed to read it."


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # else OpenSSL would ask the terminal, and wait


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not readable").lower().replace("_", " ")
    words = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return words[:1].lower() + words[1:]
