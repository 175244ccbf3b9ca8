"""From messages of devices to runs: topics, formats, conditions, mappings, loops. No broker is needed for that."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpbus.schemas import LimitsConfig, PipelineConfig, RejectionCode, TriggerConfig, topic_filter
from fpbus.schemas.cloud_events import result_event
from fpbus.triggers import (
    MOST_HOPS,
    CodecProcess,
    Message,
    Pass,
    ProjectCodecs,
    Refusal,
    RefusedError,
    Start,
    TriggerTable,
    Verdict,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def no_codec(name: str, message: Message) -> Any:
    raise AssertionError((name, message))


def a_table(*triggers: dict[str, Any], root: str = "", limits: LimitsConfig | None = None) -> TriggerTable:
    configs = [msgspec.convert(trigger, TriggerConfig) for trigger in triggers]
    return TriggerTable({"boiler": PipelineConfig(triggers=configs)}, limits or LimitsConfig(), no_codec, root)


def a_message(payload: Any = b"{}", topic: str = "zigbee2mqtt/kitchen", **facts: Any) -> Message:
    return Message(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), NOON, **facts)


def judge(trigger: dict[str, Any], payload: Any = b"{}", topic: str = "zigbee2mqtt/kitchen", **facts: Any) -> Verdict:
    (verdict,) = a_table({"topic": "zigbee2mqtt/{device}", **trigger}).judge(a_message(payload, topic, **facts))
    return verdict


def inputs_of(verdict: Verdict) -> dict[str, Any] | None:
    assert isinstance(verdict, Start), verdict
    return verdict.request.inputs


# Topics.


@pytest.mark.parametrize(
    ("text", "topic", "captured"),
    [
        ("a/b", "a/b", {}),
        ("a/b", "a/c", None),
        ("a/b", "a/b/c", None),
        ("a/+", "a/b", {}),
        ("a/+", "a", None),
        ("a/{x}", "a/b", {"x": "b"}),
        ("a/{x}", "a/", {"x": ""}),
        ("{x}/{y}/c", "a/b/c", {"x": "a", "y": "b"}),
        ("a/#", "a", {}),
        ("a/#", "a/b/c", {}),
        ("a/{rest#}", "a/b/c", {"rest": "b/c"}),
        ("a/{rest#}", "a", {"rest": ""}),
        ("#", "a/b", {}),
        ("#", "$SYS/load", None),
        ("{x}/load", "$SYS/load", None),
        ("+/+", "/b", {}),
    ],
)
def test_a_topic_filter_matches_as_brokers_do_and_names_levels(
    text: str, topic: str, captured: dict[str, str] | None
) -> None:
    assert topic_filter(text).match(topic) == captured


@pytest.mark.parametrize(
    "text", ["a/b+", "a#", "#/a", "{x", "a/{x}b", "a/{1}", "{x}/{x}", "$SYS/#", "a/\n", "a/{x#}/b"]
)
def test_a_filter_that_no_broker_takes_is_refused_where_it_is_written(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_table({"topic": text})


def test_filters_that_others_cover_are_not_subscribed_to_and_qos_is_the_highest_up_to_1() -> None:
    table = a_table(
        {"topic": "a/{x}", "qos": 0},
        {"topic": "a/b", "qos": 2},
        {"topic": "a/+", "qos": 1},
        {"topic": "b/#"},
        {"topic": "b/+/c"},
        {"topic": "b"},
        {"topic": "c/+/d", "qos": 0},
    )

    assert table.filters == {"a/+": 1, "b/#": 1, "c/+/d": 0}


def test_topics_of_the_bus_start_nothing_but_results_and_refusals_that_are_named() -> None:
    table = a_table(
        {"topic": "+/{rest#}", "inputs": {}, "name": "all"},
        {"topic": "site/pipelines/+/runs/+/result", "inputs": {}, "name": "ends"},
        {"topic": "site/pipelines/#", "inputs": {}, "name": "wide"},
        root="site/",
    )

    def heard(topic: str) -> list[str]:
        return [verdict.trigger for verdict in table.judge(a_message(topic=topic))]

    assert heard("site/pipelines/other/runs/r/result") == ["ends", "wide"]
    assert heard("site/pipelines/other/rejected") == ["wide"]
    assert heard("site/pipelines/other/runs/r/status") == []
    assert heard("site/pipelines/other/run") == []
    assert heard("site/fpbus/call/dispatcher/submit") == []
    assert heard("site/elsewhere") == ["all"]
    assert heard("pipelines/other/run") == ["all"]


# Inputs.


def test_inputs_are_found_by_paths_and_constants_lie_beside_them() -> None:
    trigger = {
        "inputs": {
            "celsius": "payload.sensors.1.t",
            "odd": "payload.color-temp.x",
            "device": "captures.device",
            "topic": "topic",
            "at": "received_at",
            "gateway": "properties.gw",
            "all": "payload",
        },
        "constants": {"unit": "C"},
    }
    payload = {"sensors": [{"t": 1}, {"t": 2.5}], "color-temp": {"x": None}}

    inputs = inputs_of(judge(trigger, payload, properties={"gw": "north"}))

    assert inputs == {
        "celsius": 2.5,
        "odd": None,
        "device": "kitchen",
        "topic": "zigbee2mqtt/kitchen",
        "at": "2026-11-23T12:00:00+00:00",
        "gateway": "north",
        "all": payload,
        "unit": "C",
    }


def test_without_inputs_the_fields_of_the_payload_are_the_inputs() -> None:
    assert inputs_of(judge({}, {"x": 1, "y": [2]})) == {"x": 1, "y": [2]}

    refused = judge({}, [1])

    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == (RejectionCode.INVALID_PAYLOAD, "$")
    assert "`x: payload`" in refused.message


def test_what_a_message_has_not_is_named() -> None:
    refused = judge({"inputs": {"celsius": "payload.sensors.0.t"}}, {"sensors": []})

    assert isinstance(refused, Refusal)
    assert refused.field == "$.sensors.0.t"
    assert refused.message == "It has no 'payload.sensors.0.t', of which input 'celsius' is made."


@pytest.mark.parametrize(
    "trigger",
    [
        {"inputs": {"x": "paylaod.t"}},
        {"inputs": {"x": "captures.room"}},
        {"key": "device"},
        {"run_id": ["payload.n", "x"]},
        {"reply_to": "answers/{room}"},
        {"format": "pickle"},
        {"when": "payload.x >"},
        {"when": "captures.room == 'x'"},
        {"when": "device == 'x'"},
        {"when": "__import__('os')"},
        {"when": "payload.__class__()"},
        {"when": "[x for x in payload]"},
        {"when": "lambda: 1"},
        {"when": "payload.x ** 9"},
        {"when": "f'{payload}'"},
        {"when": "max(payload.x, key=1)"},
    ],
)
def test_what_can_never_be_found_is_refused_where_it_is_written(trigger: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        a_table({"topic": "zigbee2mqtt/{device}", **trigger})


# Formats.


@pytest.mark.parametrize(
    ("form", "payload", "value"),
    [
        ("json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("json", b'"on"', "on"),
        ("msgpack", msgspec.msgpack.encode({"a": 1}), {"a": 1}),
        ("text", "höher".encode(), "höher"),
        ("text", b"", ""),
        ("bytes", b"\0\xff", base64.b64encode(b"\0\xff").decode()),
        ("csv", b"t,u\n1,C\r\n2,F\n", [{"t": "1", "u": "C"}, {"t": "2", "u": "F"}]),
    ],
)
def test_a_payload_is_read_as_the_trigger_says(form: str, payload: bytes, value: Any) -> None:
    assert inputs_of(judge({"format": form, "inputs": {"x": "payload"}}, payload)) == {"x": value}


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        ("json", b"off"),
        ("json", b""),
        ("json", b'{"a":1}{'),
        ("json", b"\xff"),
        ("msgpack", b"\xc1"),
        ("text", b"\xff"),
        ("csv", b"a,b\n1\n"),
        ("csv", b"a,b\n1,2,3\n"),
    ],
)
def test_a_payload_of_another_format_is_refused_never_guessed(form: str, payload: bytes) -> None:
    refused = judge({"format": form, "inputs": {"x": "payload"}}, payload)

    assert isinstance(refused, Refusal)
    assert refused.code == RejectionCode.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("content_type", "payload", "value"),
    [
        ("text/plain; charset=utf-8", b"1", "1"),
        ("application/json", b"1", 1),
        ("APPLICATION/MSGPACK", b"\x01", 1),
        ("application/x-my-own", b"1", 1),
    ],
)
def test_a_content_type_that_says_something_wins(content_type: str, payload: bytes, value: Any) -> None:
    verdict = judge({"inputs": {"x": "payload"}}, payload, content_type=content_type)

    assert inputs_of(verdict) == {"x": value}


def test_limits_hold_before_anything_is_built() -> None:
    table = a_table({"topic": "t", "inputs": {}}, limits=LimitsConfig(payload_bytes=1024, nesting=3))

    codes = [
        verdict.code
        for payload in (b'"' + b"x" * 2000 + b'"', b"[[[[1]]]]", b"[" * 1000)
        for verdict in table.judge(Message("t", payload, NOON))
        if isinstance(verdict, Refusal)
    ]

    assert codes == [RejectionCode.TOO_LARGE, RejectionCode.TOO_DEEP, RejectionCode.TOO_DEEP]


# Conditions.


@pytest.mark.parametrize(
    "when",
    [
        "payload.t > 20",
        "payload.t > 20 and captures.device != 'spare'",
        "20 < payload.t <= 25.5",
        "payload['color-temp'] == 3",
        "payload.list[1] == 'b'",
        "'a' in payload.list and captures.device in ['kitchen', 'bath']",
        "payload.none is None",
        "len(payload.list) == 2 and max(1, payload.t) == 25.5",
        "startswith(topic, 'zig') and endswith(topic, 'chen') and lower('A') == 'a'",
        "not payload.off",
        "payload.keys == 1",
        "(payload.t - 5) * 2 % 2 == 1",
        "qos == 1 and content_type is None",
        "payload.t > 20 if payload.list else False",
    ],
)
def test_a_condition_that_holds_starts_a_run(when: str) -> None:
    payload = {"t": 25.5, "color-temp": 3, "list": ["a", "b"], "none": None, "off": False, "keys": 1}

    assert isinstance(judge({"when": when, "inputs": {}}, payload), Start)


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("payload.t > 30", "'payload.t > 30' does not hold"),
        ("payload.x > 30", "it has no payload.x"),
        ("payload.t.x", "it has no payload.t.x"),
        ("payload.real", "it has no payload.real"),
        ("payload.items", "it has no payload.items"),
        ("payload.s.upper", "it has no payload.s.upper"),
        ("payload.list[7]", "it has no payload.list[7]"),
    ],
)
def test_a_condition_that_does_not_hold_passes_the_message_over(when: str, reason: str) -> None:
    verdict = judge({"when": when, "inputs": {}}, {"t": 25.5, "s": "x", "list": [0]})

    assert verdict == Pass("boiler", "0", reason)


@pytest.mark.parametrize(
    "when", ["payload.s > 1", "1 / payload.zero > 1", "int(payload.s) > 1", "payload.s * 1000000 > 1"]
)
def test_a_condition_that_cannot_be_computed_refuses_the_message(when: str) -> None:
    verdict = judge({"when": when}, {"s": "abc", "zero": 0})

    assert isinstance(verdict, Refusal)
    assert when in verdict.message


# Ids, keys, answers, expiry.


def test_a_device_that_numbers_its_messages_gives_the_same_id_for_the_same_number() -> None:
    trigger = {"run_id": ["payload.boot", "payload.n"], "inputs": {"n": "payload.n", "at": "received_at"}}
    table = a_table({"topic": "{device}", **trigger})

    def run_id(payload: dict[str, Any], topic: str = "a", at: datetime = NOON) -> str | None:
        (verdict,) = table.judge(Message(topic, json.dumps(payload).encode(), at))
        assert isinstance(verdict, Start)
        return verdict.request.run_id

    first = run_id({"boot": 1, "n": 23})

    assert first == run_id({"boot": 1, "n": 23, "other": 1}, at=NOON + timedelta(hours=1))
    others = [run_id({"boot": 12, "n": 3}), run_id({"boot": 1, "n": 24}), run_id({"boot": 1, "n": 23}, "b")]
    assert len({first, *others}) == 4
    assert first is not None
    assert first.startswith("boiler-")


def test_key_priority_answers_and_expiry_come_from_the_trigger() -> None:
    trigger = {
        "inputs": {},
        "key": "payload.id",
        "priority": "high",
        "reply_to": "answers/{device}",
        "expires_in_s": 60,
    }
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    verdict = judge(trigger, {"id": 7}, properties={"traceparent": trace})

    assert isinstance(verdict, Start)
    request = verdict.request
    assert (request.key, request.priority, request.reply_to) == ("7", "high", "answers/kitchen")
    assert request.expires_at == NOON + timedelta(seconds=60)
    assert request.traceparent == trace


def test_a_key_that_is_too_long_refuses_the_message() -> None:
    assert isinstance(judge({"key": "payload.k"}, {"k": "x" * 257}), Refusal)


def test_a_retained_message_is_an_old_state_unless_the_trigger_wants_it() -> None:
    assert isinstance(judge({}, retain=True), Pass)
    assert isinstance(judge({"retained": True}, retain=True), Start)


def test_several_triggers_each_say_their_own() -> None:
    table = TriggerTable(
        {
            "hot": PipelineConfig(triggers=[TriggerConfig(topic="t/+", when="payload.t > 30")]),
            "log": PipelineConfig(triggers=[TriggerConfig(topic="t/#", name="all"), TriggerConfig(topic="x")]),
        },
        LimitsConfig(),
        no_codec,
    )

    verdicts = table.judge(a_message({"t": 3}, "t/1"))

    assert [(type(each), each.pipeline, each.trigger) for each in verdicts] == [
        (Pass, "hot", "0"),
        (Start, "log", "all"),
    ]
    assert table.judge(a_message(topic="y")) == []


# CloudEvents.


def an_event(**attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "7", "source": "/boiler", "type": "reading", **attributes}


def test_a_cloud_event_gives_its_data_and_its_id() -> None:
    trigger = {"inputs": {"t": "payload.t"}}
    structured = judge(trigger, an_event(data={"t": 1}))
    binary = judge(trigger, {"t": 1}, properties=an_event())
    other = judge(trigger, an_event(data={"t": 1}, id="8"))
    encoded = judge(trigger, an_event(data_base64=base64.b64encode(b'{"t": 1}').decode()))

    assert inputs_of(structured) == inputs_of(binary) == inputs_of(encoded) == {"t": 1}
    ids = [each.request.run_id for each in (structured, binary, encoded, other) if isinstance(each, Start)]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_a_cloud_event_says_the_format_of_its_data() -> None:
    event = an_event(data="t;1", datacontenttype="text/plain")

    assert inputs_of(judge({"inputs": {"x": "payload"}}, event)) == {"x": "t;1"}


@pytest.mark.parametrize(
    "event",
    [an_event(specversion="0.3"), an_event(id=""), an_event(source=""), {"specversion": "1.0", "source": "x"}],
)
def test_an_event_that_is_none_is_refused(event: dict[str, Any]) -> None:
    assert isinstance(judge({"inputs": {}}, event), Refusal)


# Loops.


def test_answers_count_how_many_runs_led_to_them_and_the_last_one_starts_nothing() -> None:
    answer = {"type": "run_result", "run_id": "r", "pipeline": "boiler"}

    def verdict(**more: Any) -> Verdict:
        return judge({"inputs": {}}, json.dumps({**answer, **more}, separators=(",", ":")).encode())

    first, last, beyond = verdict(), verdict(hops=MOST_HOPS - 1), verdict(hops=MOST_HOPS)

    assert isinstance(first, Start)
    assert isinstance(last, Start)
    assert (first.hops, last.hops) == (1, MOST_HOPS)
    assert isinstance(beyond, Refusal)
    assert (beyond.code, beyond.reply_to) == (RejectionCode.LOOP, None)
    event = judge({"inputs": {}}, result_event("boiler", "r", b'{"type":"run_result","hops":3}'))
    assert isinstance(event, Start)
    assert event.hops == 4
    told = judge({"inputs": {}}, b'{"type":"rejection","code":"loop","hops":17}')
    assert isinstance(told, Pass)


# Whatever comes.


ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    ).map(lambda value: json.dumps(value).encode()),
)


@given(payload=ANYTHING, form=st.sampled_from(["json", "msgpack", "text", "bytes", "csv"]))
def test_no_payload_does_more_than_be_refused(payload: bytes, form: str) -> None:
    verdict = judge(
        {"format": form, "when": "payload.t > 1 or len(payload) > 3", "key": "payload.t", "run_id": "payload"}, payload
    )

    assert isinstance(verdict, Start | Pass | Refusal)


# Codecs.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "decoding"
    folder.mkdir()
    (folder / "plain.py").write_text(
        "import os, time\n"
        "def read(payload): return {'t': float(payload)}\n"
        "def topic(payload, topic, properties): print('talk'); return [topic, properties]\n"
        "def no_json(payload): return object()\n"
        "def hang(payload): time.sleep(60)\n"
        "def die(payload): os._exit(1)\n"
    )
    return tmp_path


Codecs = Callable[[Path], Any]


@pytest.mark.parametrize("make", [ProjectCodecs, CodecProcess])
def test_a_codec_of_the_project_reads_payloads(make: Codecs, project: Path) -> None:
    codec = make(project)

    assert codec("decoding.plain.read", Message("t", b"1.5", NOON)) == {"t": 1.5}
    heard = Message("t", b"\xff", NOON, properties={"a": "b"})
    assert codec("decoding.plain.topic", heard) == ["t", {"a": "b"}]
    for name in ("decoding.plain.read", "decoding.plain.no_json", "decoding.plain.missing", "decoding.gone.read"):
        with pytest.raises(RefusedError, match=name):
            codec(name, Message("t", b"x", NOON))
    if isinstance(codec, CodecProcess):
        codec.stop()


def test_a_codec_that_hangs_or_dies_ends_its_process_and_no_other(project: Path) -> None:
    codec = CodecProcess(project, patience_s=2.0)

    for name in ("decoding.plain.hang", "decoding.plain.die"):
        with pytest.raises(RefusedError, match="took longer than 2 s, or ended its process"):
            codec(name, Message("t", b"1" * 1_000_000, NOON))

    assert codec("decoding.plain.read", Message("t", b"1.5", NOON)) == {"t": 1.5}
    codec.stop()
