"""JSON Schema of every public message, for other languages and for validators."""

from typing import Any, Final

import msgspec

from .calls import Reply
from .events import (
    Latest,
    LogLines,
    NodeEvent,
    PipelineSchema,
    Pressure,
    Recorded,
    Rejection,
    RunResult,
    RunStatus,
    ServiceStatus,
)
from .requests import RunRequest

MESSAGES: Final = (
    RunRequest,
    RunStatus,
    RunResult,
    NodeEvent,
    LogLines,
    Rejection,
    Recorded,
    Pressure,
    Latest,
    PipelineSchema,
    ServiceStatus,
    Reply,
)


def json_schema() -> dict[str, Any]:
    """Return one JSON Schema document (2020-12) whose `$defs` hold all messages by name."""
    _, definitions = msgspec.json.schema_components(MESSAGES, ref_template="#/$defs/{name}")
    definitions["RunRequest"]["required"] = []  # not even `type`: the topic says what it is
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of fpbus",
        "oneOf": [{"$ref": f"#/$defs/{message.__name__}"} for message in MESSAGES],
        "$defs": definitions,
    }
