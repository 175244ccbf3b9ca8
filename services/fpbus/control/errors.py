"""What can go wrong between a caller and the bus, each with the exit code of the command line."""

from fpbus.bus import CallError
from fpbus.schemas import CallCode, CallFailure, FpbusError, RejectionCode


class NotConnectedError(FpbusError):
    """There is no way to the broker."""

    exit_code = 5

    def __init__(self, where: str, timeout_s: float, reason: str) -> None:
        super().__init__(
            f"Not connected to {where} after {timeout_s:g} s ({_plain(reason)}).",
            "Is this its port for TLS? Then the URL begins with mqtts://."
            if reason == "connection lost"
            else "Is a broker running? Try `fpbus up`.",
        )


class RejectedError(FpbusError):
    """A service refused what it was asked."""

    exit_code = 3


class NotFoundError(FpbusError):
    """There is no such run or pipeline."""

    exit_code = 4


class UnavailableError(FpbusError):
    """A service is there, but what it needs is not."""

    exit_code = 5


class WaitTimedOutError(FpbusError):
    """A run had not ended when the wait was over; it goes on."""

    exit_code = 124

    def __init__(self, run_id: str, timeout_s: float) -> None:
        super().__init__(
            f"Run {run_id} has not ended within {timeout_s:g} s. The run goes on.", f"Follow it: fpbus watch {run_id}"
        )


_KINDS: dict[CallCode, type[FpbusError]] = {
    CallCode.REJECTED: RejectedError,
    CallCode.INVALID_CALL: RejectedError,
    CallCode.NOT_FOUND: NotFoundError,
    CallCode.UNAVAILABLE: UnavailableError,
}


def explain(error: CallError) -> FpbusError:
    """Turn an error reply into the error that a caller can branch on; one of theirs stays what it is."""
    failure = error.failure
    unknown = failure.detail == RejectionCode.UNKNOWN_PIPELINE
    kind = NotFoundError if unknown else _KINDS.get(failure.code)
    if kind is None:
        return error
    return kind(_with_field(failure) if kind is RejectedError else failure.message, failure.hint)


def _with_field(failure: CallFailure) -> str:
    """Put the field before the message where that does not name it by itself."""
    field = (failure.field or "").removeprefix("$.")
    named = field in failure.message or field.replace("_", " ") in failure.message
    return failure.message if named else f"{field}: {failure.message}"


def _plain(reason: str) -> str:
    """`[Errno 111] Connection refused` is `connection refused`."""
    words = reason.rpartition("] ")[2]
    return words[:1].lower() + words[1:]
