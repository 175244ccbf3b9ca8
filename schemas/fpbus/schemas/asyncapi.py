"""The whole bus as one AsyncAPI 3 document: its topics, its messages, what its pipelines take, what devices say."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from . import topics
from .config import PipelineConfig
from .events import (
    Event,
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
from .json_schema import MESSAGES
from .requests import RunRequest
from .topic_filters import topic_filter
from .triggers import TriggerConfig
from .verbs import VERBS

_VERSION: Final = "3.0.0"
_SCHEMAS: Final = "#/components/schemas/"
_TYPES: Final = {"json": "application/json", "msgpack": "application/msgpack", "text": "text/plain", "csv": "text/csv"}
_SPOKEN: Final[Mapping[str, tuple[str, type[Event], int, bool]]] = {
    "status": (topics.status("{pipeline}", "{run}"), RunStatus, 1, False),
    "result": (topics.result("{pipeline}", "{run}"), RunResult, 1, False),
    "node": (topics.node("{pipeline}", "{run}", "{node}"), NodeEvent, 0, False),
    "log": (topics.log("{pipeline}", "{run}"), LogLines, 0, False),
    "latest": (topics.latest("{pipeline}"), Latest, 1, True),
    "schema": (topics.schema("{pipeline}"), PipelineSchema, 1, True),
    "rejected": (topics.rejected("{pipeline}"), Rejection, 1, False),
    "rejectedUnknown": (topics.REJECTED, Rejection, 1, False),
    "recorded": (topics.RECORDED, Recorded, 1, False),
    "pressure": (topics.PRESSURE, Pressure, 1, True),
    "presence": (topics.presence("{role}", "{instance}"), ServiceStatus, 1, True),
}
#: Where a caller on MQTT 3.1.1 says which call it is, and where it wants its reply.
_ENVELOPE: Final = {"call_id": {"type": "string"}, "reply_to": {"type": "string"}}
#: What in a schema has names of its own below it, and what is no schema.
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_VALUES: Final = frozenset({"const", "default", "enum", "examples"})
_PARAMETERS: Final = {
    "pipeline": "The name of a pipeline.",
    "run": "The id of a run.",
    "node": "A node of the pipeline's DAG.",
    "role": "dispatcher, runner, recorder or scheduler.",
    "instance": "Which one of them.",
}


def asyncapi(
    pipelines: Mapping[str, PipelineConfig],
    schemas: Mapping[str, PipelineSchema],
    root: str = "",
    version: str = "0",
    server: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return the document of a bus with these pipelines. What it receives is what others publish.

    Inputs are described as far as there is a schema. `root` stands before every topic but those of devices, `version`
    is that of fpbus, `server` the broker's address without any secret, and its protocol.
    """
    before = f"{root.strip('/')}/" if root.strip("/") else ""
    document = _Document(before)
    document.add_answers()
    for name in sorted(pipelines):
        document.add_pipeline(name, schemas.get(name))
        for number, trigger in enumerate(pipelines[name].triggers):
            document.add_trigger(name, trigger.name or str(number), trigger)
    document.add_events()
    document.add_calls()
    return {
        "asyncapi": _VERSION,
        "info": {
            "title": f"fpbus {before.rstrip('/')}".strip(),
            "version": version,
            "description": "MQTT messages become pipeline runs.",
        },
        **({"servers": {"broker": {"host": server[0], "protocol": server[1]}}} if server else {}),
        "defaultContentType": _TYPES["json"],
        "channels": document.channels,
        "operations": document.operations,
        "components": {"schemas": document.schemas, "messages": document.messages},
    }


class _Document:
    """Grows channel by channel."""

    def __init__(self, before: str) -> None:
        self._before = before
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        arguments = {kind for verbs in VERBS.values() for kind in verbs.values()}
        kinds = (*MESSAGES, *sorted(arguments, key=lambda kind: kind.__name__))
        _, found = msgspec.json.schema_components(kinds, ref_template=f"{_SCHEMAS}{{name}}")
        found["RunRequest"]["required"] = []  # not even `type`: the topic says what it is
        self.schemas: dict[str, Any] = {name: _as_draft_07(schema) for name, schema in found.items()}
        for kind in MESSAGES:
            self._add_message(kind.__name__, {"$ref": f"{_SCHEMAS}{kind.__name__}"}, _summary(kind))

    def add_answers(self) -> None:
        """Add the channels whose topic the asker names."""
        self.channels["answer"] = self._channel(None, "RunResult", "Rejection", "RunStatus")
        self.channels["reply"] = self._channel(None, "Reply")

    def add_events(self) -> None:
        for name, (topic, kind, qos, retain) in _SPOKEN.items():
            self._add(name, "send", self._before + topic, kind.__name__, qos=qos, retain=retain)
        self._add_message("AsyncApi", {"type": "object"}, "This document.")
        self._add("asyncapi", "send", self._before + topics.ASYNCAPI, "AsyncApi", retain=True)

    def add_calls(self) -> None:
        for role, verbs in VERBS.items():
            for verb, kind in verbs.items():
                name = f"call.{role}.{verb}"
                arguments = self.schemas[kind.__name__]
                body = {**arguments, "properties": {**arguments["properties"], **_ENVELOPE}}
                self._add_message(name, body, _summary(kind))
                self._add(name, "receive", self._before + topics.call(role, verb), name, answer="reply")

    def add_pipeline(self, name: str, schema: PipelineSchema | None) -> None:
        payload: dict[str, Any] = {"$ref": f"{_SCHEMAS}{RunRequest.__name__}"}
        if schema is not None:
            self._adopt(f"{name}.inputs", schema.inputs)
            self._add_result(name, schema)
            inputs = {"type": "object", "properties": {"inputs": {"$ref": f"{_SCHEMAS}{name}.inputs"}}}
            needed = {"required": ["inputs"]} if schema.inputs.get("required") else {}
            payload = {"allOf": [payload, {**inputs, **needed}]}
        self._add_message(f"run.{name}", payload, f"Run {name}.")
        self._add(f"run.{name}", "receive", self._before + topics.run(name), f"run.{name}", answer="answer")

    def _add_result(self, name: str, schema: PipelineSchema) -> None:
        """Say what the outputs are that stand in the result itself; a number that JSON has not is written as text."""
        self._adopt(f"{name}.outputs", schema.outputs)
        kinds = f"{_SCHEMAS}{name}.outputs/properties"
        outputs = {
            output: {"anyOf": [{"required": ["json_special"]}, {"properties": {"json": {"$ref": f"{kinds}/{output}"}}}]}
            for output in schema.outputs["properties"]
        }
        own = {"type": "object", "properties": {"outputs": {"properties": outputs}}}
        payload = {"allOf": [{"$ref": f"{_SCHEMAS}{RunResult.__name__}"}, own]}
        self._add_message(f"result.{name}", payload, f"How a run of {name} ended.")
        self._add(f"result.{name}", "send", self._before + topics.result(name, "{run}"), f"result.{name}")

    def add_trigger(self, pipeline: str, name: str, trigger: TriggerConfig) -> None:
        key = re.sub(r"[^a-zA-Z0-9._-]", "_", f"trigger.{pipeline}.{name}")
        says = f"Starts {pipeline}" + (f" when {trigger.when}." if trigger.when else ".")
        self._add_message(key, {}, says, _TYPES.get(trigger.format, "application/octet-stream"))
        address = "/".join(_level(*pair) for pair in enumerate(trigger.topic.split("/")))
        self._add(key, "receive", address, key, qos=trigger.qos)
        self.channels[key]["description"] = f"The topic filter {topic_filter(trigger.topic).mqtt}."

    def _adopt(self, name: str, schema: Mapping[str, Any]) -> None:
        """Take over a schema of a pipeline; its definitions become components with its name before theirs."""
        whole = {key: part for key, part in schema.items() if key not in {"$schema", "$defs"}}
        for below, part in {"": whole, **{f".{key}": part for key, part in schema.get("$defs", {}).items()}}.items():
            self.schemas[_key(name + below)] = _as_draft_07(part, name)

    def _add(
        self,
        name: str,
        action: str,
        address: str,
        message: str,
        qos: int = 1,
        *,
        retain: bool = False,
        answer: str | None = None,
    ) -> None:
        self.channels[name] = self._channel(address, message)
        self.operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
            "bindings": {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": "0.2.0"}},
        }
        if answer is not None:
            self.operations[name]["reply"] = {
                "address": {"location": "$message.payload#/reply_to"},
                "channel": {"$ref": f"#/channels/{answer}"},
            }

    def _add_message(self, name: str, payload: dict[str, Any], summary: str, content_type: str | None = None) -> None:
        self.messages[name] = {
            "name": name,
            "summary": summary,
            "contentType": content_type or _TYPES["json"],
            "payload": payload,
        }

    def _channel(self, address: str | None, *messages: str) -> dict[str, Any]:
        names = re.findall(r"\{(\w+)\}", address or "")
        parameters = {name: {"description": _PARAMETERS.get(name, "A level of the topic.")} for name in names}
        return {
            "address": address,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            **({"parameters": parameters} if parameters else {}),
        }


def _summary(kind: type[Any]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _level(place: int, level: str) -> str:
    """Write a level of a topic filter as AsyncAPI has it: every level that varies has a name."""
    if level in {"+", "#"}:
        return f"{{level{place}}}"
    return level.replace("#}", "}")


def _key(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9._-]", "_", name)


def _as_draft_07(schema: Any, owner: str = "") -> Any:
    """Say with the words of draft 7, which AsyncAPI has, what is said in those of 2020-12."""
    if isinstance(schema, list):
        return [_as_draft_07(part, owner) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return dict(_words(schema, owner))


def _words(schema: Mapping[str, Any], owner: str) -> Iterator[tuple[str, Any]]:
    for word, part in schema.items():
        if word == "discriminator":
            continue  # a hint to readers, and AsyncAPI's is another one
        if word in _VALUES:
            yield word, part
        elif word in _NAMED:
            yield word, {name: _as_draft_07(each, owner) for name, each in part.items()}
        elif word == "$ref" and isinstance(part, str) and part.startswith("#/$defs/"):
            yield word, _SCHEMAS + _key(f"{owner}.{part.removeprefix('#/$defs/')}")
        elif word == "prefixItems":
            yield "items", _as_draft_07(part, owner)
        elif word == "items" and "prefixItems" in schema:
            yield "additionalItems", _as_draft_07(part, owner)
        else:
            yield word, _as_draft_07(part, owner)
