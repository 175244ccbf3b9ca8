"""Why a TLS connection did not come about, in words and with what to do; for the broker and for Redis."""

import ssl
from typing import Final, NamedTuple

_EXPIRED: Final = 10
_NOT_YET: Final = 9
_REVOKED: Final = 23
_NO_CRL: Final = 3
_OTHER_NAME: Final = frozenset({62, 64})

_OUR_CERTIFICATE: Final = "Check {cert} and {key}: the certificate has to be one that it knows, and still valid."
#: By what OpenSSL calls an alert of the other side.
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": ("it wants a certificate of ours", "Set {cert} and {key}."),
    "HANDSHAKE_FAILURE": ("it ended the handshake", "It may want a certificate of ours: {cert} and {key}."),
    "CERTIFICATE_EXPIRED": ("our certificate has expired", "Renew the one in {cert}."),
    "CERTIFICATE_REVOKED": ("our certificate has been revoked", "Have a new one made, for {cert} and {key}."),
    "UNKNOWN_CA": ("it does not trust who signed our certificate", _OUR_CERTIFICATE),
    "BAD_CERTIFICATE": ("it does not like our certificate", _OUR_CERTIFICATE),
    "CERTIFICATE_UNKNOWN": ("it does not like our certificate", _OUR_CERTIFICATE),
    "DECRYPT_ERROR": ("it does not like our certificate", _OUR_CERTIFICATE),
    "WRONG_VERSION_NUMBER": ("it speaks no TLS on this port", "Name the port for TLS, or check the scheme of {url}."),
}


class TlsTrouble(NamedTuple):
    """What is wrong, as the end of a sentence about the other side, and what to do about it."""

    reason: str
    hint: str


def tls_trouble(error: BaseException | None, prefix: str) -> TlsTrouble | None:
    """Explain an error, or what lies behind it; `prefix`, such as FPBUS_MQTT, begins the names of the settings.

    Returns None for what has nothing to do with certificates, and may pass by itself.
    """
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    found = _of_certificate(error) if isinstance(error, ssl.SSLCertVerificationError) else _of_alert(error)
    if found is None:
        return None
    names = {name: f"{prefix}_{name.upper()}_FILE" for name in ("ca", "cert", "key")}
    return TlsTrouble(found[0], found[1].format(url=f"{prefix}_URL", **names))


def _of_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired", "Renew it where the server runs, and check the clock of this machine."
    if code == _NOT_YET:
        return "its certificate is not valid yet", "Check the clocks of both machines."
    if code == _REVOKED:
        return "its certificate has been revoked", "Have a new one made for the server."
    if code == _NO_CRL:
        return "there is no list of revoked certificates of who signed its own", "Add that list to the file of {ca}."
    if code in _OTHER_NAME:
        return "its certificate is for another name", "In {url}, use a name that stands in the certificate."
    return "nobody whom we trust has signed its certificate", "Name the file with its authority's certificate in {ca}."


def _of_alert(error: ssl.SSLError) -> tuple[str, str] | None:
    return next((words for name, words in _ALERTS.items() if name in (error.reason or "")), None)
