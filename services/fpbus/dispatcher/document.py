"""The bus' own description, retained on `fpbus/asyncapi`."""

import logging
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version

from fpbus.bus import Bus
from fpbus.schemas import MAX_PAYLOAD, PipelineSchema, encode, topics
from fpbus.schemas.asyncapi import asyncapi

from .handlers import Rules

log = logging.getLogger(__name__)


class BusDocument:
    """Publishes the AsyncAPI document when it is another one than before."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._version = version("fpbus")
        self._rules: Rules | None = None
        self._versions: dict[str, str] = {}
        self._published = b""
        bus.on_session(self._on_session)

    def tell(self, rules: Rules, schemas: Mapping[str, PipelineSchema]) -> None:
        """Have the document be about these pipelines; costs next to nothing while they are the same."""
        versions = {name: schema.version for name, schema in schemas.items()}
        if rules is self._rules and versions == self._versions:
            return
        self._rules, self._versions = rules, versions
        try:
            text = _as_message(encode(asyncapi(rules.pipelines, schemas, rules.root, self._version)))
        except Exception:
            # The schemas come from the bus, and may be anything.
            log.exception("could not describe the bus")
            return
        digest = blake2b(text).digest()
        if digest != self._published:
            self._bus.publish(topics.ASYNCAPI, text, retain=True)
            self._published = digest

    def _on_session(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        if not session_present:  # the broker may have forgotten what it retained
            self._rules, self._published = None, b""


def _as_message(text: bytes) -> bytes:
    """Return what to retain: nothing for a document that brokers would end our connection for, at each attempt."""
    if len(text) <= MAX_PAYLOAD:
        return text
    log.warning(
        "the AsyncAPI document is too large for the bus; `fpbus asyncapi` writes it",
        extra={"bytes": len(text), "most": MAX_PAYLOAD},
    )
    return b""
