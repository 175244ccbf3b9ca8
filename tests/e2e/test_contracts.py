"""What does not fit a pipeline's inputs is refused at the door, with the field; what a run takes is not."""

import functools
import json
import operator
import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pytest

from fpbus.project import source_digest
from fpbus.schemas import PipelineSchema, encode
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

MUTATIONS = 1000
NULLABLE = {"$.inputs.customer.age"}
ORDERS = """
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypedDict
import msgspec
from pydantic import BaseModel, Field

class Line(msgspec.Struct, forbid_unknown_fields=True):
    article: str
    amount: Annotated[int, msgspec.Meta(ge=1, le=99)]
    price: float = 1.0

@dataclass
class Address:
    street: str
    number: int

class Parcel(TypedDict):
    weight: float

class Customer(BaseModel):
    name: str = Field(min_length=1)
    age: int | None = None

def total(lines: list[Line], address: Address, parcel: Parcel, customer: Customer, at: datetime,
          kind: Literal["big", "small"], notes: list[str], by_day: dict[str, float], discount: float = 0.0) -> float:
    assert type(lines[0]) is Line and type(address) is Address and type(customer) is Customer
    return sum(line.amount * line.price for line in lines) - discount
"""
GOOD: dict[str, dict[str, Any]] = {
    "orders": {
        "lines": [{"article": "pen", "amount": 2, "price": 1.5}, {"article": "ink", "amount": 1}],
        "address": {"street": "High", "number": 4},
        "parcel": {"weight": 1.5},
        "customer": {"name": "Ann", "age": 40},
        "at": "2026-03-01T10:00:00Z",
        "kind": "big",
        "notes": ["a", "b"],
        "by_day": {"monday": 1.5},
        "discount": 1,
    },
    "numbers": {"count": 3, "factor": 2.5, "label": "a", "on": True, "rows": [[1, 2], [3]]},
}
NUMBERS = """
def product(count: int, factor: float, label: str, on: bool, rows: list[list[int]]) -> float:
    return count * factor
"""


def places(value: Any) -> Iterator[list[Any]]:
    """Yield the names and numbers that lead to each place below a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield [name]
        yield from ([name, *below] for below in places(part))


def written(place: list[Any]) -> str:
    return "$.inputs" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def mutated(good: dict[str, Any], chance: random.Random) -> tuple[str, bytes]:
    """Return a message with one place that no run takes, and the path to it."""
    inputs = json.loads(json.dumps(good))
    *above, last = place = chance.choice(list(places(inputs)))
    path = written(place)
    choices: list[Any] = [{"no": {"such": 1}}, [[[None]]], [None, {}], *([] if path in NULLABLE else [None])]
    functools.reduce(operator.getitem, above, inputs)[last] = chance.choice(choices)
    return path, json.dumps({"inputs": inputs}).encode()


@pytest.mark.parametrize("pipeline", GOOD)
def test_mutated_payloads_are_refused_and_the_field_is_named(stack: Stack, device: Device, pipeline: str) -> None:
    stack.add_pipeline("orders", ORDERS)
    stack.add_pipeline("numbers", NUMBERS)
    device.client.subscribe("pipelines/+/schema", 1)
    stack.start()
    wait_for(lambda: any(each["pipeline"] == pipeline for each in device.messages(ending="/schema")), 30, "the schema")
    dispatcher = stack.processes["dispatcher"].pid
    chance, wanted = random.Random(7), dict[str, str]()
    while len(wanted) < MUTATIONS:
        path, payload = mutated(GOOD[pipeline], chance)
        payload += b" " * len(wanted)  # each message is another one
        wanted[blake2b(payload, digest_size=16).hexdigest()] = path
        device.publish(f"pipelines/{pipeline}/run", payload)
    device.run(pipeline, {"run_id": "good", "inputs": GOOD[pipeline]})

    assert device.wait_result("good")["state"] == "succeeded"
    wait_for(lambda: len(device.rejections()) == MUTATIONS, 30, "all rejections")
    told = {each["digest"]: each["field"] for each in device.rejections()}
    named = [told[digest].startswith(path) for digest, path in wanted.items()]
    assert sum(named) >= 0.99 * MUTATIONS, [pair for pair, ok in zip(wanted.items(), named, strict=True) if not ok][:5]
    assert stack.processes["dispatcher"].pid == dispatcher


def schemas(device: Device) -> dict[str, Any]:
    """Return the last that was said of each pipeline."""
    return {each["pipeline"]: each for each in device.messages(ending="/schema")}


def test_what_a_device_says_is_refused_with_the_field_of_its_own_payload(stack: Stack, device: Device) -> None:
    trigger = "triggers:\n  - topic: meters/{meter}\n    inputs: {count: payload.values.n, label: captures.meter}\n"
    stack.add_pipeline("counted", "def counted(count: int, label: str) -> int:\n    return count\n", trigger)
    device.client.subscribe("pipelines/+/schema", 1)
    stack.start()
    wait_for(lambda: "counted" in schemas(device), 30, "the schema")

    device.publish("meters/kitchen", {"values": {"n": "many"}})

    (rejection,) = wait_for(device.rejections, 10, "the rejection")
    assert (rejection["code"], rejection["field"]) == ("invalid_payload", "$.values.n")


def test_pipelines_that_cannot_be_read_keep_no_other_from_being_described(stack: Stack, device: Device) -> None:
    stack.add_pipeline("a_exits", "import os\nos._exit(3)\n")
    stack.add_pipeline("b_raises", "raise ValueError\n")
    stack.add_pipeline("numbers", NUMBERS)
    device.client.subscribe("pipelines/+/schema", 1)
    stack.start()
    wait_for(lambda: {"add", "numbers"} <= set(schemas(device)), 30, "the schemas of the others")

    stack.add_pipeline("numbers", NUMBERS.replace("count: int, ", "count: int, more: int, "))
    wait_for(lambda: "more" in schemas(device)["numbers"]["inputs"]["required"], 30, "the new schema")
    log = stack.folder / "dispatcher.log"
    wait_for(lambda: "read the project again" in log.read_text(), 30, "the dispatcher to have the same files")
    device.run("numbers", {"run_id": "old", "inputs": GOOD["numbers"]})

    (rejection,) = wait_for(device.rejections, 10, "the rejection")
    assert (rejection["run_id"], rejection["field"]) == ("old", "$.inputs.more")
    assert not {"a_exits", "b_raises"} & set(schemas(device))


def test_a_request_for_other_outputs_needs_what_those_need(stack: Stack, device: Device) -> None:
    stack.add_pipeline("two", "def one(x: int) -> int:\n    return x\n\ndef other(y: int) -> int:\n    return y\n")
    device.client.subscribe("pipelines/+/schema", 1)
    stack.start()
    wait_for(lambda: "two" in schemas(device), 30, "the schema")

    device.run("two", {"run_id": "part", "inputs": {"y": 3}, "final_vars": ["other"]})

    assert device.wait_result("part")["outputs"] == {"other": {"json": 3}}


@pytest.mark.parametrize(("source", "becomes"), [("", "accepted"), ("same", "rejected")])
def test_a_schema_that_was_made_of_other_files_refuses_nothing(
    stack: Stack, device: Device, source: str, becomes: str
) -> None:
    made_of = source and source_digest(stack.project)
    needs: dict[str, Any] = {"type": "object", "properties": {}, "required": ["other"]}
    retained = PipelineSchema(pipeline="add", version="1", inputs=needs, outputs={"properties": {}}, source=made_of)
    device.client.subscribe("fpbus/asyncapi", 1)
    device.publish("pipelines/add/schema", encode(retained), retain=True).wait_for_publish(10)
    stack.start("dispatcher")
    wait_for(lambda: device.messages(ending="fpbus/asyncapi"), 20, "the dispatcher to have heard it")

    device.run("add", {"run_id": "one", "inputs": {"x": 1}})

    wait_for(lambda: device.messages(ending="add/rejected" if source else "one/status"), 10, becomes)
    assert len(device.rejections()) == bool(source)


def test_a_schema_that_is_none_harms_nothing(stack: Stack, device: Device) -> None:
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    hostile: list[dict[str, Any]] = [{"type": 5}, {"$ref": "file:///etc/passwd"}, {"properties": []}, {"pattern": "("}]
    for inputs in hostile:
        schema = PipelineSchema(pipeline="add", version=str(inputs), inputs=inputs, outputs={}, source=None)
        device.publish("pipelines/add/schema", encode(schema), retain=True)
    device.publish("pipelines/other/schema", b"\x00 no JSON", retain=True)
    schema = PipelineSchema(pipeline="more", version="1", inputs=nothing, outputs=nothing)
    device.publish("pipelines/more/schema", encode(schema), retain=True).wait_for_publish(10)
    stack.start()
    dispatcher = stack.processes["dispatcher"].pid

    device.run("add", {"run_id": "one", "inputs": {"x": 1}})

    assert device.wait_result("one")["state"] == "succeeded"
    assert stack.processes["dispatcher"].pid == dispatcher
