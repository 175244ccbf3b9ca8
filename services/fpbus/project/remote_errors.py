"""What goes wrong with a project that is not on this machine, in sentences: filesystems raise hundreds of classes."""

import contextlib
import zipfile
from collections.abc import Generator
from typing import Final

from fpbus.schemas import FpbusError

from .credentials import Address
from .errors import ProjectError


class RemoteError(ProjectError):
    """A project's URL, its storage options or its files cannot be used as they are."""


class RemoteNotFoundError(RemoteError):
    """There is no such bucket, folder or project."""

    exit_code = 4


class RemoteUnreachableError(RemoteError):
    """The storage does not answer, or does not let us in."""

    exit_code = 5


@contextlib.contextmanager
def explained(place: Address) -> Generator[None]:
    """Turn whatever a filesystem raises into one of the errors above; no secret is in them or in their cause."""
    try:
        yield
    except FpbusError:
        raise
    except Exception as error:
        # Each filesystem brings the exceptions of its own libraries, which need not be installed here.
        harmless = place.conceal(str(error)) == str(error)
        raise _explain(error, place) from (error if harmless else None)


def _explain(error: Exception, place: Address) -> RemoteError:
    says = _says(error, place)
    # fsspec's web filesystem says that a file is not there, and why only in the cause.
    whole = [error, cause] if isinstance(cause := error.__cause__, Exception) else [error]
    if any(map(_is_denied, whole)):
        return RemoteUnreachableError(f"{place} does not let us in{says}.", _credentials(place))
    if any(map(_is_away, whole)):
        return RemoteUnreachableError(
            f"{place} does not answer{says}.", "Check the network, the host and the option endpoint_url."
        )
    if isinstance(error, FileNotFoundError):
        return RemoteNotFoundError(f"There is nothing at {place}{says}.", "Check bucket, folder and their spelling.")
    return _explain_ours(error, place, says)


def _explain_ours(error: Exception, place: Address, says: str) -> RemoteError:
    if isinstance(error, ImportError):
        return RemoteError(f"Opening {place} needs a package that is not installed here{says}.", _install(place))
    if isinstance(error, zipfile.BadZipFile):
        return RemoteError(f"{place} is no zip file{says}.")
    if isinstance(error, NotImplementedError):
        return RemoteError(f"{place} cannot be written.", "Change a copy of the project, and put that there.")
    if isinstance(error, ValueError | TypeError):
        return RemoteError(f"{place} cannot be opened{says}.", "Check the URL and the names of the storage options.")
    return RemoteUnreachableError(f"{place} cannot be used{says}.", _credentials(place))


def _says(error: Exception, place: Address) -> str:
    """Return what the filesystem says, short and in brackets; its name where it says nothing."""
    lines = place.conceal(str(error)).split("\n")
    text = " ".join(lines[0].split())[:_LONGEST].rstrip(".")
    if not text:
        text = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
    return "" if text.rstrip("/") in str(place) else f" ({text})"


def _is_denied(error: Exception) -> bool:
    return (
        isinstance(error, PermissionError)
        or bool(_DENIED & _classes(error))
        or _status(error) in {401, 403}
        or str(error).startswith("Forbidden")
    )


def _is_away(error: Exception) -> bool:
    return isinstance(error, TimeoutError | ConnectionError) or bool(_AWAY & _classes(error))


def _classes(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: Exception) -> object:
    return getattr(error, "status", None) or getattr(error, "status_code", None) or getattr(error, "code", None)


def _install(place: Address) -> str:
    package = _PACKAGES.get(place.protocol, "")
    return f"pip install {package}" if package else "Install the package that it names."


def _credentials(place: Address) -> str:
    return _CREDENTIALS.get(place.protocol, "Check the credentials and the storage options.")


_LONGEST: Final = 200

_DENIED: Final = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "ProfileNotFound",
    "ClientAuthenticationError",
    "DefaultCredentialsError",
    "RefreshError",
    "AuthenticationException",
}
_AWAY: Final = {
    "HTTPClientError",  # botocore
    "ConnectionError",  # botocore and requests have classes of this name, too
    "ClientConnectionError",  # aiohttp
    "ServiceRequestError",  # azure
    "ServiceResponseError",
    "TransportError",  # google
    "gaierror",
}

_PACKAGES: Final = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("http", "https", "github", "gitlab"), "aiohttp requests"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "smb": "smbprotocol",
}

_CREDENTIALS: Final = {
    **dict.fromkeys(
        ("s3", "s3a"),
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or the storage options key and secret.",
    ),
    **dict.fromkeys(
        ("gs", "gcs"), "Set GOOGLE_APPLICATION_CREDENTIALS, or the storage option token (a file, or anon)."
    ),
    **dict.fromkeys(
        ("az", "abfs", "abfss"),
        "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or _SAS_TOKEN), or the storage options.",
    ),
    "github": "Set GITHUB_TOKEN, or the storage option token.",
    "gitlab": "Set GITLAB_TOKEN, or the storage option token.",
}
