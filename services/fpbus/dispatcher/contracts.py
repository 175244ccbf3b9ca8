"""The contracts of pipelines: what each one's inputs must be, as the runners say on `pipelines/{name}/schema`."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import jsonschema_rs
import msgspec

from fpbus.bus import Bus, Inbox
from fpbus.schemas import PipelineSchema, RejectionCode, RunRequest, decode, topics

from .handlers import RefusedError

log = logging.getLogger(__name__)

#: Raises `RefusedError` for a pipeline's inputs that a run would refuse.
Check = Callable[[str, RunRequest], None]

_MOST_AT_ONCE: Final = 256
#: The formats that the runner converts; those of others, as pydantic's, are notes and nothing is refused for them.
_FORMATS: Final[Mapping[str, Any]] = {
    "date": date,
    "date-time": datetime,
    "decimal": Decimal,
    "duration": timedelta,
    "time": time,
    "uuid": UUID,
}


class Contracts:
    """Hears the schemas and holds requests against them. For the dispatcher's one thread.

    A pipeline of which nothing is known takes everything: its run says then what does not fit. So does one whose
    schema was made of other files than ours: what is retained may be of an older state, or of another project.
    `source` digests our files, None where there is no code beside the dispatcher.
    """

    def __init__(self, bus: Bus, source: Callable[[], str | None]) -> None:
        self._bus = bus
        self._source = source
        self._inbox = Inbox()
        self._contracts: dict[str, Contract] = {}
        self.schemas: dict[str, PipelineSchema] = {}
        bus.subscribe(self._inbox, topics.schema("+"))

    def hear(self) -> None:
        """Take in what the runners have said since the last time."""
        for delivery in self._inbox.take(_MOST_AT_ONCE, 0.0):
            name = delivery.topic.split("/")[1]
            try:
                self._learn(name, decode(delivery.payload, PipelineSchema) if delivery.payload else None)
            except Exception as error:
                # It comes from the bus, and may be anything.
                log.warning("ignored a schema that cannot be read", extra={"pipeline": name, "reason": str(error)})
            self._bus.ack(delivery)

    def _learn(self, name: str, schema: PipelineSchema | None) -> None:
        if schema is None:
            self.schemas.pop(name, None)
            self._contracts.pop(name, None)
        else:
            self._contracts[name] = Contract(schema)
            self.schemas[name] = schema

    def check(self, pipeline: str, request: RunRequest) -> None:
        """Raise `RefusedError` for inputs that a run would refuse, naming the field."""
        contract = self._contracts.get(pipeline)
        if contract is not None and self._source() in {None, contract.source}:
            contract.check(request)


class Contract:
    """What the inputs of one pipeline must be. Raises `ValueError` for a schema that is none."""

    def __init__(self, schema: PipelineSchema) -> None:
        self.source = schema.source
        formats = {name: _convertible(kind) for name, kind in _FORMATS.items()}
        self._validator = jsonschema_rs.Draft202012Validator(
            _with_our_formats(schema.inputs), formats=formats, validate_formats=True, mask="it", offline=True
        )

    def check(self, request: RunRequest) -> None:
        """Raise `RefusedError` for inputs that a run would refuse, naming the field.

        A request for other outputs, or for another DAG, needs other inputs; of those the schema says nothing.
        """
        if request.final_vars or request.config is not None:
            return
        inputs: Any = request.inputs or {}
        try:
            valid = self._validator.is_valid(inputs)
        except ValueError:  # what only MessagePack can say: bytes, times, names that are numbers
            inputs = msgspec.to_builtins(inputs, str_keys=True)
            valid = self._validator.is_valid(inputs)
        if not valid and (fault := next(_faults(self._validator.iter_errors(inputs)), None)):
            path, problem = fault
            raise RefusedError(
                RejectionCode.INVALID_PAYLOAD, f"{_sentence(path, problem)}.", f"$.inputs{_written(path)}", request
            )


def _convertible(kind: Any) -> Callable[[str], bool]:
    def converts(text: str) -> bool:
        try:
            msgspec.convert(text, kind)
        except msgspec.ValidationError:
            return False
        return True

    return converts


def _with_our_formats(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_our_formats(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: part for name, part in schema.items() if name != "format" or part in _FORMATS or not _is_text(part)}
    return {name: _with_our_formats(part) for name, part in kept.items()}


def _is_text(part: Any) -> bool:
    return isinstance(part, str)


def _faults(errors: Iterator[Any]) -> Iterator[tuple[list[str | int], str]]:
    """Yield where and what is wrong; of alternatives, what is wrong with the one that fits farthest."""
    for error in errors:
        kind, path = error.kind, list(error.instance_path)
        if isinstance(error.instance, float) and not math.isfinite(error.instance):
            continue  # which only MessagePack can say; JSON Schema knows no such number
        if kind.name in {"anyOf", "oneOf"} and any(kind.context):
            yield from _faults_of_nearest(kind.context, path)
        elif kind.name == "required":
            yield [*path, kind.property], "is missing"
        elif kind.name == "additionalProperties":
            yield [*path, kind.unexpected[0]], "is not known"
        elif kind.name == "falseSchema":
            yield path, "is not allowed"
        else:
            yield path, error.message.removeprefix("it ")


def _faults_of_nearest(
    branches: Sequence[Sequence[Any]], path: list[str | int]
) -> Iterator[tuple[list[str | int], str]]:
    found = [list(_faults(iter(branch))) for branch in branches]
    if all(found):  # else one of them fits
        yield max((faults[0] for faults in found), key=lambda fault: len(fault[0])) if found else (path, "")


def _sentence(path: Sequence[str | int], problem: str) -> str:
    name, *rest = path or [""]
    where = f" at {name}{_written(rest)}" if rest else ""
    return f"The input {name!r} {'does not fit' + where + ': it ' if rest else ''}{problem}"


def _written(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
