"""Bytes to messages: whatever comes in, a value goes out, or one kind of error with a path."""

import contextlib
import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpbus.schemas import (
    JSON,
    MSGPACK,
    Reply,
    RunRequest,
    RunResult,
    TooDeepError,
    UnknownFieldError,
    WireError,
    decode,
    encode,
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
kinds: st.SearchStrategy[Any] = st.sampled_from([RunRequest, RunResult, Reply, dict[str, Any], Any])
content_types = st.sampled_from([None, JSON, MSGPACK, "text/plain"])


def _decode_or_refuse(payload: bytes, kind: Any, content_type: str | None) -> None:
    """Fail with whatever else is raised."""
    with contextlib.suppress(WireError):
        decode(payload, kind, content_type)


@settings(deadline=None)
@given(st.binary(max_size=200), kinds, content_types)
def test_any_bytes_are_a_value_or_a_wire_error(payload: bytes, kind: Any, content_type: str | None) -> None:
    _decode_or_refuse(payload, kind, content_type)


@settings(deadline=None)
@given(values, kinds)
def test_any_json_is_a_value_or_a_wire_error(value: Any, kind: Any) -> None:
    _decode_or_refuse(json.dumps(value).encode(), kind, None)


@settings(deadline=None)
@given(values, kinds)
def test_any_messagepack_is_a_value_or_a_wire_error(value: Any, kind: Any) -> None:
    _decode_or_refuse(msgspec.msgpack.encode(value), kind, MSGPACK)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(RunRequest.__struct_fields__), values))
def test_any_value_in_any_field_is_a_request_or_a_wire_error(fields: dict[str, Any]) -> None:
    _decode_or_refuse(json.dumps(fields).encode(), RunRequest, None)


@settings(deadline=None)
@given(values)
def test_inputs_arrive_as_they_were_sent(value: Any) -> None:
    request = RunRequest(inputs={"x": value})

    assert decode(encode(request), RunRequest) == request
    assert decode(msgspec.msgpack.encode(request), RunRequest, MSGPACK) == request


@pytest.mark.parametrize("content_type", [None, MSGPACK])
@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_64_levels_are_taken_and_65_are_not(content_type: str | None, filled: bool) -> None:  # noqa: FBT001 (a case)
    dump = msgspec.msgpack.encode if content_type == MSGPACK else msgspec.json.encode

    decode(dump(_nested(64, filled)), dict[str, Any], content_type)

    with pytest.raises(TooDeepError, match="deeper than 64 levels"):
        decode(dump(_nested(65, filled)), dict[str, Any], content_type)


def _nested(levels: int, filled: bool) -> dict[str, Any]:  # noqa: FBT001 (a case)
    value: Any = {"x": 1} if filled else {}
    for level in range(levels - 2):
        value = [value] if level % 2 else {"x": value}
    return {"inputs": value}


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'{"a":' * 100_000, b'{"inputs":' + b"[" * 100_000])
def test_a_hundred_thousand_brackets_do_no_harm(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode(payload, RunRequest)
    with pytest.raises(WireError):
        decode(payload, dict[str, Any])


def test_brackets_inside_a_text_are_no_levels() -> None:
    request = RunRequest(inputs={"x": "[" * 1000})

    assert decode(encode(request), RunRequest) == request


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xdf\x20\x00\x00\x00", b"\xc6\xff\xff\xff\xff"])
def test_messagepack_that_announces_gigabytes_is_refused_before_they_are_reserved(head: bytes) -> None:
    with pytest.raises(WireError):
        decode(head, dict[str, Any], MSGPACK)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(UnknownFieldError, match=r"There is no field 'inptus' in this message.") as refusal:
        decode(b'{"inptus": {}, "other": 1}', RunRequest)

    assert refusal.value.field == "$.inptus"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(WireError, match=r"The field 'service' is missing.") as refusal:
        decode(b'{"type": "reply"}', Reply)

    assert refusal.value.field == "$.service"


def test_a_wrong_type_is_told_with_its_path() -> None:
    with pytest.raises(WireError, match="Expected `str`, got `int`") as refusal:
        decode(b'{"final_vars": ["a", 5]}', RunRequest)

    assert refusal.value.field == "$.final_vars[1]"


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff", b'{"run_id": "\xff"}', b"{}{}"])
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode(payload, RunRequest)


def test_null_means_the_default() -> None:
    nulls = dict.fromkeys(RunRequest.__struct_fields__)

    assert decode(json.dumps(nulls).encode(), RunRequest) == RunRequest()


def test_a_time_may_come_without_a_zone() -> None:
    request = decode(b'{"not_before": "2026-11-22T10:15:05"}', RunRequest)

    assert request.not_before == datetime(2026, 11, 22, 10, 15, 5)  # noqa: DTZ001 (that is the point)


def test_defaults_are_not_written() -> None:
    assert encode(RunRequest(run_id="a")) == b'{"type":"run_request","run_id":"a"}'
