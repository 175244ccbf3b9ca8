"""Every public message, as it has been on the wire since it exists.

A golden file shows a message with every field. A message only ever gains optional fields: then add a new
file beside the old one, `<message>.2.json`, and leave the old one as it is.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from fpbus.schemas import (
    MSGPACK,
    OVERRIDES,
    Event,
    FailureCode,
    RejectionCode,
    RunRequest,
    RunResult,
    RunState,
    ServiceStatus,
    UnknownFieldError,
    decode,
    encode,
    json_schema,
)
from fpbus.schemas.json_schema import MESSAGES

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = sorted(GOLDEN.glob("*.json"))
BY_TAG: dict[str, type[msgspec.Struct]] = {str(kind.__struct_config__.tag): kind for kind in MESSAGES}

a_golden_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
an_event = pytest.mark.parametrize("tag", [tag for tag, kind in BY_TAG.items() if issubclass(kind, Event)])


def _read(path: Path) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    fields = json.loads(path.read_bytes())
    return BY_TAG[fields["type"]], fields


def test_every_public_message_has_a_golden_file() -> None:
    assert {_read(path)[0] for path in FILES} == set(MESSAGES)


@pytest.mark.parametrize("tag", BY_TAG)
def test_the_golden_files_of_a_message_show_all_its_fields(tag: str) -> None:
    shown = {field for path in GOLDEN.glob(f"{tag}.*") for field in json.loads(path.read_bytes())}

    assert {"type", *BY_TAG[tag].__struct_fields__} == shown


@a_golden_file
def test_a_golden_message_is_read_and_written_as_it_stands(path: Path) -> None:
    kind, fields = _read(path)

    message = decode(path.read_bytes(), kind)

    assert json.loads(encode(message)) == fields


@a_golden_file
def test_a_golden_message_survives_messagepack(path: Path) -> None:
    kind, _ = _read(path)
    message = decode(path.read_bytes(), kind)

    assert decode(msgspec.msgpack.encode(message), kind, MSGPACK) == message


@a_golden_file
def test_a_golden_message_without_its_optional_fields_is_read_too(path: Path) -> None:
    kind, fields = _read(path)
    needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required} | {"type"}

    message = decode(encode({name: value for name, value in fields.items() if name in needed}), kind)

    assert set(json.loads(encode(message))) == needed


@an_event
def test_a_reader_ignores_fields_that_an_event_has_gained(tag: str) -> None:
    kind, fields = _read(GOLDEN / f"{tag}.json")

    newer = decode(encode({**fields, "invented_later": {"deep": [1]}}), kind)

    assert newer == decode(encode(fields), kind)


def test_a_request_forbids_unknown_fields_and_names_the_first() -> None:
    with pytest.raises(UnknownFieldError) as refusal:
        decode(b'{"inputs": {}, "first": 1, "second": 2}', RunRequest)

    assert refusal.value.field == "$.first"


def test_the_request_of_the_contract_is_read() -> None:
    request = decode(CONTRACT_REQUEST, RunRequest)

    assert request.run_id == "boiler-7_20261122T101500"
    assert json.loads(encode(request)) == {"type": "run_request", **json.loads(CONTRACT_REQUEST)}


def test_the_result_of_the_contract_is_read() -> None:
    result = decode(CONTRACT_RESULT, RunResult)

    assert (result.state, result.runner) == (RunState.SUCCEEDED, "edge-1/3")
    assert {name: output.json for name, output in result.outputs.items()} == {"alarm": True}
    assert decode(encode(result), RunResult) == result


def test_an_empty_object_is_a_request() -> None:
    assert decode(b"{}", RunRequest) == RunRequest()


def test_the_overrides_are_fields_of_a_request() -> None:
    assert set(OVERRIDES) <= set(RunRequest.__struct_fields__)


def test_the_codes_are_those_of_the_contract() -> None:
    rejections = "invalid_payload unknown_field unknown_pipeline not_allowed conflict retained too_large too_deep"
    failures = "pipeline_error timeout cancelled worker_lost result_not_encodable pipeline_not_loadable"

    assert {*rejections.split(), "expired", "loop", "illegal_name"} == set(RejectionCode)
    assert {*failures.split(), "expired", "skipped"} == set(FailureCode)


def test_the_states_of_a_service_are_those_of_the_contract() -> None:
    (field,) = (field for field in msgspec.structs.fields(ServiceStatus) if field.name == "state")

    assert set(field.type.__args__) == {"init", "ready", "degraded", "stopping", "gone"}


def test_the_json_schema_is_one_of_2020_12() -> None:
    Draft202012Validator.check_schema(json_schema())


@a_golden_file
def test_the_json_schema_takes_every_golden_message(path: Path) -> None:
    _, fields = _read(path)

    Draft202012Validator(json_schema()).validate(fields)


@pytest.mark.parametrize("payload", [b"{}", b'{"run_id": "a", "inputs": null}'])
def test_the_json_schema_takes_a_request_without_its_type(payload: bytes) -> None:
    Draft202012Validator(json_schema()).validate(json.loads(payload))


@pytest.mark.parametrize("payload", [b'{"inptus": {}}', b'{"run_id": "a b"}', b'{"type": "run_result"}', b"[]", b"5"])
def test_the_json_schema_refuses_what_no_reader_takes(payload: bytes) -> None:
    assert not Draft202012Validator(json_schema()).is_valid(json.loads(payload))


CONTRACT_REQUEST = b"""
{"run_id": "boiler-7_20261122T101500", "inputs": {"temperature": 81.5}, "final_vars": ["alarm"],
 "reply_to": "devices/boiler-7/answers", "not_before": "2026-11-22T10:15:05Z", "expires_at": "2026-11-22T10:20:00Z",
 "priority": "high", "key": "boiler-7",
 "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
"""

CONTRACT_RESULT = b"""
{"type": "run_result", "run_id": "boiler-7_20261122T101500", "pipeline": "overheat", "state": "succeeded", "attempt": 1,
 "accepted_at": "2026-11-22T10:15:00.012Z", "started_at": "2026-11-22T10:15:00.019Z",
 "finished_at": "2026-11-22T10:15:00.024Z",
 "runner": "edge-1/3", "outputs": {"alarm": {"json": true}}, "traceparent": "00-..."}
"""
