"""The AsyncAPI document has the whole bus in it, and nothing that leads nowhere."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft7Validator
from msgspec.structs import replace

from fpbus.dispatcher.calls import DispatcherCalls
from fpbus.dispatcher.document import BusDocument
from fpbus.dispatcher.handlers import Rules
from fpbus.recorder.calls import HistoryCalls
from fpbus.scheduler.calls import ScheduleCalls
from fpbus.schemas import MAX_PAYLOAD, LimitsConfig, PipelineConfig, PipelineSchema, Role, TriggerConfig
from fpbus.schemas.asyncapi import asyncapi
from fpbus.schemas.verbs import VERBS

PIPELINES = {
    "plain": PipelineConfig(),
    "meters": PipelineConfig(
        triggers=[
            TriggerConfig(topic="meters/{meter}/+/{rest#}", qos=0, format="text", inputs={"text": "payload"}),
            TriggerConfig(topic="a/#", name="all", when="payload.x > 1"),
        ]
    ),
}
SCHEMA = PipelineSchema(
    pipeline="meters",
    version="1",
    inputs={
        "type": "object",
        "properties": {
            "reading": {"$ref": "#/$defs/Reading"},
            "pair": {"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
        },
        "required": ["reading"],
        "$defs": {"Reading": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/Inner"}}}, "Inner": {}},
    },
    outputs={"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]},
)


@pytest.fixture
def document() -> dict[str, Any]:
    return asyncapi(PIPELINES, {"meters": SCHEMA}, root="shop/", version="1.2", server=("broker:1883", "mqtt"))


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for below in part.values():
            yield from references(below)
    elif isinstance(part, list):
        for below in part:
            yield from references(below)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert len(found) > 50
    for reference in found:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in part, reference
            part = part[name]


def test_all_topics_have_the_root_but_those_of_devices(document: dict[str, Any]) -> None:
    addresses = {name: channel["address"] for name, channel in document["channels"].items() if channel["address"]}
    triggers = {name: address for name, address in addresses.items() if name.startswith("trigger.")}
    assert triggers == {"trigger.meters.0": "meters/{meter}/{level2}/{rest}", "trigger.meters.all": "a/{level1}"}
    assert all(address.startswith("shop/") for name, address in addresses.items() if name not in triggers)
    assert {"shop/pipelines/plain/run", "shop/pipelines/meters/run", "shop/fpbus/asyncapi"} <= set(addresses.values())


def test_inputs_are_those_of_the_pipeline(document: dict[str, Any]) -> None:
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    assert messages["run.plain"]["payload"] == {"$ref": "#/components/schemas/RunRequest"}
    asked = messages["run.meters"]["payload"]["allOf"][1]
    assert asked["required"] == ["inputs"]
    assert asked["properties"]["inputs"] == {"$ref": "#/components/schemas/meters.inputs"}
    assert schemas["meters.inputs"]["properties"] == {
        "reading": {"$ref": "#/components/schemas/meters.inputs.Reading"},
        "pair": {"type": "array", "items": [{"type": "integer"}], "additionalItems": False},
    }


def test_results_have_the_outputs_of_the_pipeline(document: dict[str, Any]) -> None:
    channel = document["channels"]["result.meters"]
    assert channel["address"] == "shop/pipelines/meters/runs/{run}/result"
    assert "result.plain" not in document["channels"]
    payload = document["components"]["messages"]["result.meters"]["payload"]
    result = Draft7Validator({**payload, "components": document["components"]})
    told = {"type": "run_result", "run_id": "a", "pipeline": "meters", "state": "succeeded", "attempt": 1}
    told |= {f"{moment}_at": "2026-11-22T10:15:00Z" for moment in ("accepted", "started", "finished")}
    for output in ({"json": 1.5}, {"json": "NaN", "json_special": True}, {"ref": "x.json", "format": "json"}):
        result.validate({**told, "outputs": {"total": output}})
    assert not result.is_valid({**told, "outputs": {"total": {"json": "much"}}})


def test_a_field_may_be_called_like_a_word_of_json_schema_and_no_union_is_told_apart_as_in_openapi() -> None:
    kinds = {
        "anyOf": [{"$ref": "#/$defs/Cat"}],
        "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}},
    }
    cat = {"type": "object", "properties": {"prefixItems": {"type": "integer"}, "discriminator": {}, "items": {}}}
    inputs = {"type": "object", "properties": {"pet": kinds}, "default": {"$ref": "#/$defs/Cat"}, "$defs": {"Cat": cat}}
    schema = replace(SCHEMA, inputs=inputs)

    schemas = asyncapi(PIPELINES, {"meters": schema})["components"]["schemas"]

    assert schemas["meters.inputs.Cat"] == cat
    assert schemas["meters.inputs"]["properties"]["pet"] == {
        "anyOf": [{"$ref": "#/components/schemas/meters.inputs.Cat"}]
    }
    assert schemas["meters.inputs"]["default"] == {"$ref": "#/$defs/Cat"}


def test_what_is_retained_is_said(document: dict[str, Any]) -> None:
    retained = {name for name, one in document["operations"].items() if one["bindings"]["mqtt"]["retain"]}
    assert retained == {"latest", "schema", "presence", "asyncapi", "pressure"}
    assert document["operations"]["trigger.meters.0"]["bindings"]["mqtt"]["qos"] == 0


@pytest.mark.parametrize(
    ("role", "calls"),
    [(Role.DISPATCHER, DispatcherCalls), (Role.RECORDER, HistoryCalls), (Role.SCHEDULER, ScheduleCalls)],
)
def test_the_calls_are_those_that_the_services_answer(role: Role, calls: Any) -> None:
    answered = {verb: kind for verb, (kind, _) in calls.verbs(Mock()).items()}

    assert VERBS[role] == answered


def test_a_document_that_is_too_large_for_brokers_takes_the_place_of_the_one_before_as_nothing() -> None:
    bus = Mock()
    told = BusDocument(bus)
    for count in (1, 1, 1000):
        pipelines = {f"p{number}": PipelineConfig() for number in range(count)}
        rules = Rules(pipelines, LimitsConfig(), ZoneInfo("UTC"))
        told.tell(rules, {name: replace(SCHEMA, pipeline=name) for name in pipelines})

    small, large = [call.args[1] for call in bus.publish.call_args_list]
    assert 0 < len(small) < MAX_PAYLOAD
    assert large == b""
