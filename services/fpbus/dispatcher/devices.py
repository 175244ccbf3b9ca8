"""Messages of devices: what the project's triggers make of them, and what is told of those that start nothing."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.bus import Bus, Delivery, Inbox
from fpbus.schemas import LimitsConfig, TriggerConfig, TriggerInfo, encode
from fpbus.schemas.windows import BatchWindow
from fpbus.triggers import Codec, Message, Pass, Refusal, Start, TriggerTable, unwrap
from fpbus.triggers import RefusedError as UnreadableError

from .contracts import Check
from .handlers import Admission, RefusedError, Rules, admit
from .ids import mint_run_id
from .refusing import Refuser

_MOST_RUNS_REMEMBERED: Final = 16


class Devices:
    """Listens to the topics of all triggers, and makes admissions of what comes. For the dispatcher's one thread."""

    def __init__(self, bus: Bus, inbox: Inbox, refuser: Refuser, check: Check, codec: Codec) -> None:
        self._bus = bus
        self._inbox = inbox
        self._refuser = refuser
        self._check = check
        self._codec = codec
        self._rules: Rules | None = None
        self._table = TriggerTable({}, LimitsConfig(), codec)
        self._counts: Counter[str] = Counter()

    def follow(self, rules: Rules) -> None:
        """Have the triggers of these rules from now on."""
        self._rules = rules
        self._table = TriggerTable(rules.pipelines, rules.limits, self._codec, rules.root)
        self._bus.listen(self._inbox, self._table.filters)

    @property
    def runs_per_message(self) -> int:
        """How many runs one message may become, as far as their ids are kept for when it comes again."""
        return max(1, min(len(self._table.triggers), _MOST_RUNS_REMEMBERED))

    def admissions(self, delivery: Delivery) -> Iterator[Admission]:
        """Yield the runs that a message is to start; the publisher of one that cannot be used is told."""
        now = datetime.now(UTC)
        for verdict in self._table.judge(message_of(delivery, now)):
            match verdict:
                case Start():
                    yield from self._start(verdict, delivery, now)
                case Pass():
                    self._count(verdict, "passed")
                case Refusal():
                    refused = RefusedError(verdict.code, verdict.message, verdict.field)
                    self._refuse(verdict, delivery, refused, verdict.reply_to)

    def take_counts(self) -> Counter[str]:
        """Return how many messages each trigger had since the last time, by `<pipeline>:<trigger>:<what became>`."""
        counts, self._counts = self._counts, Counter()
        return counts

    def _start(self, start: Start, delivery: Delivery, now: datetime) -> Iterator[Admission]:
        assert self._rules is not None
        try:
            admission = admit(start.pipeline, start.request, self._rules, now, mint_run_id, delivery)
            if not isinstance(start.config.window, BatchWindow):  # its runs have lists of them
                self._check(start.pipeline, start.request)
        except RefusedError as refused:
            refused.field = field_of_message(refused.field, start.config)
            self._refuse(start, delivery, refused)
            return
        if start.config.window is None:  # else its window counts it
            self._count(start, "taken")
        job = msgspec.structs.replace(admission.job, hops=start.hops, as_event=start.event)
        digest = digest_of_message(start, delivery)
        yield replace(admission, job=job, digest=digest, trigger=start.trigger, window=start.config.window)

    def _refuse(
        self, verdict: Start | Refusal, delivery: Delivery, refused: RefusedError, reply_to: str | None = None
    ) -> None:
        self._count(verdict, "rejected")
        self._refuser.refuse(delivery, refused, verdict.pipeline, reply_to, verdict.hops)

    def _count(self, verdict: Start | Pass | Refusal, what: str) -> None:
        self._counts[f"{verdict.pipeline}:{verdict.trigger}:{what}"] += 1


def opened(delivery: Delivery) -> tuple[Delivery, str | None]:
    """Return what a CloudEvent on a run topic carries, and the run id that it gives; others as they are.

    Raises `RefusedError` for an event that is not one.
    """
    try:
        message, event_id = unwrap(message_of(delivery, datetime.now(UTC)))
    except UnreadableError as refused:
        raise RefusedError(refused.code, str(refused), refused.field) from None
    if event_id is None:
        return delivery, None
    carried = msgspec.structs.replace(
        delivery, payload=message.payload, content_type=message.content_type, user=message.properties
    )
    return carried, event_id


def triggers_of(rules: Rules, counts: Mapping[tuple[str, str], Mapping[str, int]]) -> list[TriggerInfo]:
    """List the triggers of these rules with their counts."""
    table = TriggerTable(rules.pipelines, rules.limits, _no_codec, rules.root)
    return [
        TriggerInfo(
            pipeline=trigger.pipeline,
            trigger=trigger.name,
            topic=trigger.config.topic,
            window=str(trigger.config.window.__struct_config__.tag) if trigger.config.window else None,
            counts=_complete(counts.get((trigger.pipeline, trigger.name), {}), windowed=bool(trigger.config.window)),
        )
        for trigger in table.triggers
    ]


def _complete(counts: Mapping[str, int], *, windowed: bool) -> dict[str, int]:
    """Fill in what has not been counted yet, and what waits in windows now."""
    names = ("taken", "passed", "rejected", *(("runs", "ran", "replaced", "discarded") if windowed else ()))
    full = {**dict.fromkeys(names, 0), **counts}
    held = {"held": full["taken"] - full["ran"] - full["replaced"] - full["discarded"]} if windowed else {}
    return full | held


def _no_codec(name: str, message: Message) -> Any:
    raise AssertionError(f"nothing is read here, not even {message.topic} by {name}")


def message_of(delivery: Delivery, now: datetime) -> Message:
    return Message(
        topic=delivery.topic,
        payload=delivery.payload,
        at=now,
        qos=delivery.qos,
        retain=delivery.retain,
        content_type=delivery.content_type,
        properties=delivery.user,
    )


def field_of_message(field: str | None, config: TriggerConfig) -> str | None:
    """Return where in a device's payload the fault lies that was found at an input, where the input is from there."""
    name = re.match(r"\$\.inputs\.([^.\[]+)", field or "")
    path = (f"payload.{name[1]}" if config.inputs is None else config.inputs.get(name[1], "")) if name else ""
    if field is None or name is None or path.partition(".")[0] != "payload":
        return field
    return f"$.{path.removeprefix('payload').lstrip('.')}".rstrip(".") + field[name.end() :]


def digest_of_message(start: Start, delivery: Delivery) -> bytes:
    """Digest what a device published: when it comes again it is the same, whenever that is."""
    heard = encode((start.pipeline, start.trigger, delivery.topic))
    return blake2b(heard + b"\0" + delivery.payload, digest_size=16).digest()
