"""CloudEvents 1.0: the event's data is the message, and its id and source are the run's id.

Structured: a JSON body with `specversion`, or the Content Type `application/cloudevents+json`. Binary: the attributes
are MQTT 5 user properties, the payload is the data.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.schemas import JSON, RejectionCode, encode

from .message import Message
from .verdicts import RefusedError

STRUCTURED: Final = "application/cloudevents+json"


class _Event(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class _Probe(msgspec.Struct):
    specversion: Any = None


def unwrap(message: Message) -> tuple[Message, str | None]:
    """Return the message that an event carries, and the run id that it gives; other messages as they are.

    Raises `RefusedError` for an event that is not one.
    """
    if _says(message.content_type) == STRUCTURED or _looks_structured(message.payload):
        return _structured(message)
    if "specversion" in message.properties:
        return _binary(message)
    return message, None


def _says(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _looks_structured(payload: bytes) -> bool:
    return payload[:1] == b"{" and b'"specversion"' in payload and b'"source"' in payload and _has_version(payload)


def _has_version(payload: bytes) -> bool:
    try:
        return msgspec.json.decode(payload, type=_Probe).specversion is not None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def _structured(message: Message) -> tuple[Message, str]:
    try:
        event = msgspec.json.decode(message.payload, type=_Event)
        data = base64.b64decode(event.data_base64, validate=True) if event.data_base64 else bytes(event.data)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, f"It is no CloudEvent: {error}.", "$") from None
    kind = event.datacontenttype
    if event.data_base64 is None and data[:1] == b'"' and _says(kind) not in {"", JSON}:
        data = msgspec.json.decode(data, type=str).encode()  # text that is not JSON stands in the event as a string
    trace = {"traceparent": event.traceparent, "tracestate": event.tracestate}
    inner = replace(
        message,
        payload=data,
        content_type=kind or JSON,
        properties={**message.properties, **{name: value for name, value in trace.items() if value}},
    )
    return inner, _run_id(event.specversion, event.source, event.id)


def _binary(message: Message) -> tuple[Message, str]:
    attributes: Mapping[str, str] = message.properties
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            message_text = f"It is no CloudEvent: the user property {name!r} is missing."
            raise RefusedError(RejectionCode.INVALID_PAYLOAD, message_text)
    return message, _run_id(attributes["specversion"], attributes["source"], attributes["id"])


def _run_id(version: str, source: str, event_id: str) -> str:
    if version != "1.0":
        message = f"It is a CloudEvent of version {version[:20]!r}; 1.0 is understood."
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, "$.specversion")
    if not source or not event_id:
        message = "It is no CloudEvent: id and source may not be empty."
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, "$.source" if event_id else "$.id")
    return f"ce-{blake2b(encode((source, event_id)), digest_size=16).hexdigest()}"
