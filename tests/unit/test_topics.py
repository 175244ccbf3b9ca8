"""Topics and names: what is one of ours, what may stand in one, and what a broker would choke on."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fpbus.schemas import RunRequest, Submit, WireError, decode, encode, is_pipeline_name, is_run_id, topics

GOOD_RUN_IDS = ["a", "boiler-7_20261122T101500", "A" * 64, "-", "_", "0"]
BAD_RUN_IDS = ["", "a" * 65, "a.b", "a/b", "a:b", "a b", "a\n", "\na", "a\r\n", "a\0", "ａ", "а", "é", "a\u200b", "+"]  # noqa: RUF001 (look-alikes)
GOOD_NAMES = ["a", "daily_sales", "0", "_x", "a.b-c", "a" * 64, "a..b"]
BAD_NAMES = ["", "a" * 65, "A", ".a", "-a", "..", "../x", "a/b", "a b", "a\n", "\na", "a\0", "ａ", "а", "é", "+", "#"]  # noqa: RUF001 (look-alikes)

anything = (
    st.text(alphabet=st.characters()) | st.text(alphabet="aZ0_-./+#\n\0é") | st.from_regex(r"[a-z0-9_.-]{1,70}\n?")
)


@pytest.mark.parametrize("text", GOOD_RUN_IDS)
def test_a_run_id_is_taken(text: str) -> None:
    assert is_run_id(text)
    assert decode(encode({"run_id": text}), RunRequest).run_id == text


@pytest.mark.parametrize("text", BAD_RUN_IDS)
def test_anything_else_is_no_run_id(text: str) -> None:
    assert not is_run_id(text)
    with pytest.raises(WireError) as refusal:
        decode(encode({"run_id": text}), RunRequest)
    assert refusal.value.field == "$.run_id"


@pytest.mark.parametrize("text", GOOD_NAMES)
def test_a_pipeline_name_is_taken(text: str) -> None:
    assert is_pipeline_name(text)
    assert decode(encode({"pipeline": text}), Submit).pipeline == text


@pytest.mark.parametrize("text", BAD_NAMES)
def test_anything_else_is_no_pipeline_name(text: str) -> None:
    assert not is_pipeline_name(text)
    with pytest.raises(WireError) as refusal:
        decode(encode({"pipeline": text}), Submit)
    assert refusal.value.field == "$.pipeline"


@settings(deadline=None)
@given(anything)
def test_a_run_id_is_up_to_64_characters_of_a_small_alphabet(text: str) -> None:
    legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

    assert is_run_id(text) == (0 < len(text) <= 64 and set(text) <= set(legal))


@settings(deadline=None)
@given(anything)
def test_a_pipeline_name_is_up_to_64_characters_of_a_smaller_one(text: str) -> None:
    first = "abcdefghijklmnopqrstuvwxyz0123456789_"

    expected = 0 < len(text) <= 64 and text[0] in first and set(text) <= {*first, ".", "-"}

    assert is_pipeline_name(text) == expected


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,63}", fullmatch=True))
def test_the_name_is_read_back_from_the_topic_of_its_runs(name: str) -> None:
    assert topics.pipeline_of_run_topic(topics.run(name)) == name


@settings(deadline=None)
@given(anything)
@example("pipelines/run")
@example("pipelines//run")
@example("pipelines/run/run")
def test_a_name_in_a_topic_is_all_that_stands_between_its_ends(topic: str) -> None:
    name = topics.pipeline_of_run_topic(topic)

    assert name is None or topics.run(name) == topic


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("pipelines/../../etc/passwd/run", "../../etc/passwd"),
        ("pipelines//run", ""),
        ("pipelines/a/b/run", "a/b"),
        ("pipelines/a/runs/r1/status", None),
        ("pipelines/a/runs/r1/nodes/run", None),
        ("pipelines/run", None),
        ("pipelines/a/RUN", None),
        ("fpbus/pipelines/a/run", None),
        ("", None),
    ],
)
def test_a_strange_name_is_told_apart_from_an_event_of_ours(topic: str, name: str | None) -> None:
    assert topics.pipeline_of_run_topic(topic) == name


@pytest.mark.parametrize(
    "topic",
    [
        "pipelines/a/run",
        "pipelines/../run",
        "pipelines/a/runs/r1/result",
        "pipelines/a/latest",
        "pipelines/a/schema",
        "pipelines/a/rejected",
        "fpbus/call/dispatcher/submit",
        "fpbus/recorded",
        "$SYS/broker",
        "answers/+",
        "answers/#",
        "answers/\0",
        "answers/\n",
        "",
        "a/" * 200,
        "é" * 10_000,
        "bad\ud800surrogate",
    ],
)
def test_nobody_may_ask_for_an_answer_there(topic: str) -> None:
    assert topics.is_reserved(topic)
    assert not topics.takes_replies(topic)


@pytest.mark.parametrize("topic", ["devices/boiler-7/answers", "a", "/a", "a/", "pipelines/a/running", "Küche/日本"])
def test_an_answer_may_go_to_any_other_topic(topic: str) -> None:
    assert not topics.is_reserved(topic)
    assert topics.takes_replies(topic)


def test_a_call_is_answered_on_a_reply_topic_though_it_is_reserved() -> None:
    assert topics.is_reserved("fpbus/reply/cli-1")
    assert topics.takes_replies("fpbus/reply/cli-1")


@settings(deadline=None)
@given(anything)
def test_what_is_not_reserved_can_be_published_on(topic: str) -> None:
    if not topics.is_reserved(topic):
        assert topics.is_publishable(topic)
        assert "\0" not in topic
        assert 0 < len(topic.encode()) <= 65_535


def test_every_topic_of_the_contract_is_spelled_as_there() -> None:
    spelled = [
        topics.run("p"),
        topics.status("p", "r"),
        topics.result("p", "r"),
        topics.node("p", "r", "n"),
        topics.log("p", "r"),
        topics.latest("p"),
        topics.schema("p"),
        topics.rejected("p"),
        topics.REJECTED,
        topics.RECORDED,
        topics.PRESSURE,
        topics.presence("runner", "edge-1"),
        topics.call("dispatcher", "submit"),
        topics.reply("cli-1"),
    ]

    assert spelled == [
        "pipelines/p/run",
        "pipelines/p/runs/r/status",
        "pipelines/p/runs/r/result",
        "pipelines/p/runs/r/nodes/n",
        "pipelines/p/runs/r/log",
        "pipelines/p/latest",
        "pipelines/p/schema",
        "pipelines/p/rejected",
        "fpbus/rejected",
        "fpbus/recorded",
        "fpbus/pressure",
        "fpbus/services/runner/edge-1/status",
        "fpbus/call/dispatcher/submit",
        "fpbus/reply/cli-1",
    ]
