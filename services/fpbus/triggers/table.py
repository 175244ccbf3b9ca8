"""All triggers of a project, and what each of them says of a message. Pure: no clock, no network, no randomness."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.schemas import (
    FORMATS,
    LimitsConfig,
    PipelineConfig,
    RejectionCode,
    RunRequest,
    TopicFilter,
    TriggerConfig,
    encode,
    topic_filter,
)
from fpbus.schemas.cloud_events import RESULT_EVENT, ResultEvent
from fpbus.schemas.paths import value_at

from .cloud_events import unwrap
from .conditions import Condition
from .formats import format_of, read_payload
from .message import Message
from .verdicts import Facts, Pass, PassedError, Refusal, RefusedError, Start, Verdict

MOST_HOPS: Final = 16
_KEY_CHARS: Final = 256
_ANSWERS: Final = frozenset({"run_result", "rejection"})
#: What of the bus itself may start a pipeline: how runs end, and what was refused.
_HEARD_OF_US: Final = ("result", "rejected")

Codec = Callable[[str, Message], Any]
"""Calls a function of the project by its dotted name; raises `RefusedError` for what it cannot read."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of one pipeline, ready to be asked."""

    pipeline: str
    name: str
    config: TriggerConfig
    filter: TopicFilter
    condition: Condition | None


class TriggerTable:
    """The triggers of all pipelines. `root` is the bus' own prefix, which device topics do not have."""

    def __init__(
        self, pipelines: Mapping[str, PipelineConfig], limits: LimitsConfig, codec: Codec, root: str = ""
    ) -> None:
        self._limits = limits
        self._codec = codec
        self._root = root
        self.triggers = [
            trigger for pipeline, config in pipelines.items() for trigger in _triggers(pipeline, config.triggers)
        ]

    @property
    def filters(self) -> dict[str, int]:
        """What to subscribe to, with the QoS. A filter that another one covers is left out: it would be heard twice.

        QoS 2 is subscribed to as 1: a message is acknowledged when its run is stored, and known again when it comes
        twice, which is more than QoS 2 can promise to a client that may die.
        """
        wanted: dict[str, int] = {}
        for trigger in self.triggers:
            name = trigger.filter.mqtt
            wanted[name] = max(wanted.get(name, 0), min(trigger.config.qos, 1))
        return {name: qos for name, qos in wanted.items() if not any(_covers(other, name) for other in wanted)}

    def judge(self, message: Message) -> list[Verdict]:
        """Return what each trigger says whose topic it is; empty for a message that nobody is waiting for."""
        heard = [
            (trigger, captures)
            for trigger in self.triggers
            if (captures := trigger.filter.match(message.topic)) is not None and self._may_start(trigger, message.topic)
        ]
        if not heard:
            return []
        hops, ends_here = _hops_before(message.payload)
        reading = _Reading(message, self._limits, self._codec)
        if ends_here:
            return [Pass(trigger.pipeline, trigger.name, "it tells of a loop, or of a repeat") for trigger, _ in heard]
        return [self._ask(trigger, captures, reading, hops) for trigger, captures in heard]

    def _may_start(self, trigger: Trigger, topic: str) -> bool:
        """Tell whether a topic is a device's, or one of ours that the trigger names in so many words."""
        own = topic.removeprefix(self._root)
        if (self._root and own == topic) or not own.startswith(("pipelines/", "fpbus/")):
            return True
        named = trigger.config.topic.removeprefix(self._root)
        return named.startswith("pipelines/") and own.endswith(tuple(f"/{kind}" for kind in _HEARD_OF_US))

    def _ask(self, trigger: Trigger, captures: Mapping[str, str], reading: "_Reading", hops: int) -> Verdict:
        pipeline, name, config = trigger.pipeline, trigger.name, trigger.config
        if reading.message.retain and not config.retained:
            return Pass(pipeline, name, "it was retained: an old state, not an event (`retained: true` runs on it)")
        if hops > MOST_HOPS:
            message = f"Answers of runs started runs {MOST_HOPS} times in a row."
            return Refusal(pipeline, name, RejectionCode.LOOP, message, hops=hops)
        reply_to = config.reply_to.format_map(captures) if config.reply_to else None
        try:
            facts, event_id = reading.facts(captures, config.format)
            if trigger.condition is not None:
                trigger.condition.check(facts)
            run_id = _run_id(trigger, facts, event_id)
            request = _request(config, facts, reading.message.at, run_id, reply_to)
            return Start(pipeline, name, request, config, hops, event=event_id is not None)
        except PassedError as passed:
            return Pass(pipeline, name, str(passed))
        except RefusedError as refused:
            return Refusal(pipeline, name, refused.code, str(refused), refused.field, reply_to, hops)


class _Reading:
    """One message, decoded once for each format that is asked for."""

    def __init__(self, message: Message, limits: LimitsConfig, codec: Codec) -> None:
        self.message = message
        self._limits = limits
        self._codec = codec
        self._decoded: dict[str, tuple[Message, str | None, Any]] = {}

    def facts(self, captures: Mapping[str, str], form: str) -> tuple[Facts, str | None]:
        """Return what paths lead into, and the run id that a CloudEvent gives."""
        if form not in self._decoded:
            self._decoded[form] = self._decode(form)
        message, event_id, payload = self._decoded[form]
        facts = {
            "payload": payload,
            "topic": message.topic,
            "captures": captures,
            "properties": message.properties,
            "received_at": message.at.isoformat(),
            "content_type": message.content_type,
            "qos": message.qos,
        }
        return facts, event_id

    def _decode(self, form: str) -> tuple[Message, str | None, Any]:
        if len(self.message.payload) > self._limits.payload_bytes:
            size, most = len(self.message.payload), self._limits.payload_bytes
            raise RefusedError(RejectionCode.TOO_LARGE, f"The message has {size} bytes; {most} are allowed.")
        message, event_id = unwrap(self.message)
        if form not in FORMATS:
            return message, event_id, self._codec(form, message)
        form = format_of(message.content_type, form)
        return message, event_id, read_payload(message.payload, form, self._limits.nesting)


def _triggers(pipeline: str, configs: Sequence[TriggerConfig]) -> Iterator[Trigger]:
    for place, config in enumerate(configs):
        found = topic_filter(config.topic)
        condition = Condition(config.when, found.captures) if config.when is not None else None
        yield Trigger(pipeline, config.name or str(place), config, found, condition)


def _request(config: TriggerConfig, facts: Facts, at: datetime, run_id: str | None, reply_to: str | None) -> RunRequest:
    return RunRequest(
        run_id=run_id,
        inputs={**_inputs(config, facts), **config.constants} or None,
        reply_to=reply_to,
        key=_key(config.key, facts),
        priority=config.priority,
        expires_at=at + timedelta(seconds=config.expires_in_s) if config.expires_in_s else None,
        traceparent=_trace(facts, "traceparent", 64),
        tracestate=_trace(facts, "tracestate", 512),
    )


def _inputs(config: TriggerConfig, facts: Facts) -> dict[str, Any]:
    if config.inputs is not None:
        return {name: _value(facts, path, f"input {name!r}") for name, path in config.inputs.items()}
    payload = facts["payload"]
    if not isinstance(payload, Mapping):
        message = "The payload has no fields. The trigger's `inputs` can say which input it is, such as `x: payload`."
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, "$")
    if not all(isinstance(name, str) for name in payload):
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, "The payload has fields whose names are not text.", "$")
    return dict(payload)


def _value(facts: Facts, path: str, what: str) -> Any:
    try:
        return value_at(facts, path)
    except LookupError:
        field = "$" + path.removeprefix("payload") if path.startswith("payload") else None
        message = f"It has no {path!r}, of which {what} is made."
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, message, field) from None


def _key(path: str | None, facts: Facts) -> str | None:
    if path is None:
        return None
    value = _value(facts, path, "the key")
    key = value if isinstance(value, str) else encode(value).decode()
    if len(key) > _KEY_CHARS:
        raise RefusedError(RejectionCode.INVALID_PAYLOAD, f"A key has {_KEY_CHARS} characters at most.", f"$.{path}")
    return key


def _run_id(trigger: Trigger, facts: Facts, event_id: str | None) -> str | None:
    """Return an id that is the same when the message comes again; None for a message that has no number."""
    if paths := trigger.config.identity:
        said: Any = [_value(facts, path, "the run id") for path in paths]
    elif event_id is not None:
        said = event_id
    else:
        return None
    named = (trigger.pipeline, trigger.name, facts["topic"], said)
    return f"{trigger.pipeline[:31].replace('.', '_')}-{blake2b(encode(named), digest_size=16).hexdigest()}"


def _trace(facts: Facts, name: str, most: int) -> str | None:
    value = facts["properties"].get(name)
    return value if value and len(value) <= most else None


class _Probe(msgspec.Struct):
    type: str = ""
    hops: int = 0
    code: str = ""


def _hops_before(payload: bytes) -> tuple[int, bool]:
    """Return how many runs in a row led to this message, 0 for one that is no answer of ours; and if it starts none."""
    if payload.startswith(b'{"specversion":"1.0"') and RESULT_EVENT.encode() in payload:
        payload = _data_of(payload)
    if not payload.startswith(b'{"type":"r'):
        return 0, False
    try:
        probe = msgspec.json.decode(payload, type=_Probe)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0, False
    if probe.type not in _ANSWERS:
        return 0, probe.type == "run_status"
    return max(probe.hops, 0) + 1, probe.code == RejectionCode.LOOP


def _data_of(event: bytes) -> bytes:
    try:
        return bytes(msgspec.json.decode(event, type=ResultEvent).data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return event


def _covers(above: str, below: str) -> bool:
    """Tell whether one filter hears all that another one does, and more."""
    if above == below:
        return False
    wide, narrow = above.split("/"), below.split("/")
    for place, part in enumerate(wide):
        if part == "#":
            return True
        if place >= len(narrow) or narrow[place] == "#" or part not in {"+", narrow[place]}:
            return False
    return len(wide) == len(narrow)
