"""Answers as CloudEvents 1.0: who asks with an event is answered with one."""

from typing import Final

import msgspec
from msgspec import Raw, Struct

CLOUD_EVENT: Final = "application/cloudevents+json"
RESULT_EVENT: Final = "fpbus.run_result"


class ResultEvent(Struct, frozen=True, kw_only=True):
    """A structured event whose data is a `RunResult`."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str = RESULT_EVENT
    datacontenttype: str = "application/json"
    data: Raw


def result_event(pipeline: str, run_id: str, result: bytes) -> bytes:
    """Put a result that is JSON already into an event; a run has one, so the run's id is the event's."""
    return msgspec.json.encode(ResultEvent(id=run_id, source=f"/pipelines/{pipeline}", data=Raw(result)))
