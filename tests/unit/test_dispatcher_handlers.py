"""What becomes of a message, decided without a broker and without Redis."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from fpbus.bus import Delivery
from fpbus.dispatcher.handlers import (
    Admission,
    RefusedError,
    Rules,
    admit,
    cancelled_result,
    check_overrides,
    conflict,
    digest_of,
    expired,
    lost_result,
    pipeline_of,
    read_request,
    rejection_of,
    rejection_topic,
)
from fpbus.dispatcher.ids import mint_run_id
from fpbus.dispatcher.ingress import refusal_of, status_of, traced
from fpbus.dispatcher.queue import Outcome
from fpbus.schemas import (
    MSGPACK,
    OVERRIDES,
    FailureCode,
    LimitsConfig,
    PipelineConfig,
    Priority,
    RunConfig,
    RunRequest,
    RunState,
    is_run_id,
)
from fpbus.schemas.queue import job_data, read_job_data

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OPEN = PipelineConfig(run=RunConfig(timeout_s=9, priority=Priority.LOW), allow_overrides=["config", "timeout_s"])
RULES = Rules({"add": PipelineConfig(), "open": OPEN}, LimitsConfig(payload_bytes=1024), BERLIN)
UNDER_ROOT = Rules(RULES.pipelines, RULES.limits, BERLIN, root="site/")


def a_delivery(payload: bytes = b"", topic: str = "pipelines/add/run", **properties: Any) -> Delivery:
    parts: dict[str, Any] = {"qos": 1, "retain": False, "duplicate": False, "packet_id": 1, "connection": 1}
    return Delivery(topic, payload, **(parts | properties))


def as_json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def admitted(
    request: RunRequest, name: str = "add", delivery: Delivery | None = None, rules: Rules = RULES
) -> Admission:
    return admit(name, request, rules, NOON, lambda: "minted", delivery)


def digest(payload: bytes, pipeline: str = "add", content_type: str | None = None) -> bytes:
    request = read_request(a_delivery(payload, content_type=content_type), RULES)
    return admitted(request, pipeline).digest


def refusal(payload: bytes, **properties: Any) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as refused:
        read_request(a_delivery(payload, **properties), RULES)
    assert str(refused.value).endswith(".")
    return refused.value.code, refused.value.field


# Names.


@pytest.mark.parametrize("name", ["add", "open"])
def test_a_pipeline_of_the_project_is_found(name: str) -> None:
    assert pipeline_of(f"pipelines/{name}/run", RULES) == name


@pytest.mark.parametrize("name", ["nobody", "a" * 64, "_", "a..", "0", "a-b_c.d"])
def test_a_legal_name_that_is_no_pipeline_is_unknown(name: str) -> None:
    with pytest.raises(RefusedError, match="There is no pipeline") as refused:
        pipeline_of(f"pipelines/{name}/run", RULES)

    assert refused.value.code == "unknown_pipeline"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a" * 65,
        "add\n",
        "add\0",
        "../../etc/passwd",
        "..",
        ".hidden",
        "-x",
        "a/b",
        "Add",
        "аdd",  # noqa: RUF001 (Cyrillic)
        "add\u200b",
        "\ufeffadd",
        "\u202edda",
        "ａdd",  # noqa: RUF001 (full width)
        "add٣",
        "%2e%2e",
        "a\\b",
    ],
)
def test_an_illegal_name_is_told_from_an_unknown_one(name: str) -> None:
    with pytest.raises(RefusedError, match="cannot name a pipeline") as refused:
        pipeline_of(f"pipelines/{name}/run", RULES)

    assert refused.value.code == "illegal_name"
    assert len(str(refused.value)) < 400


def test_a_topic_that_is_no_run_topic_names_nothing() -> None:
    with pytest.raises(RefusedError, match="cannot name a pipeline"):
        pipeline_of("pipelines/add/runs/r/nodes/run", RULES)


# Payloads.


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"inputs": null, "run_id": null, "priority": null}'])
def test_no_payload_and_null_fields_ask_for_the_defaults(payload: bytes) -> None:
    assert read_request(a_delivery(payload), RULES) == RunRequest()


@pytest.mark.parametrize(
    ("payload", "refused"),
    [
        (b"{", ("invalid_payload", None)),
        (b"null", ("invalid_payload", None)),
        (b"\xff\xfe", ("invalid_payload", None)),
        (b'{"inputs": []}', ("invalid_payload", "$.inputs")),
        (b'{"final_vars": ["a", 1]}', ("invalid_payload", "$.final_vars[1]")),
        (as_json(run_id="a" * 65), ("invalid_payload", "$.run_id")),
        (as_json(run_id="a\n"), ("invalid_payload", "$.run_id")),
        (as_json(inptus={}), ("unknown_field", "$.inptus")),
        (b'{"inputs": {"x": ' + b"[" * 65 + b"]" * 65 + b"}}", ("too_deep", None)),
        (b'{"inputs": {"x": "' + b"a" * 1024 + b'"}}', ("too_large", None)),
    ],
)
def test_what_is_no_request_is_refused_with_the_field(payload: bytes, refused: tuple[str, str | None]) -> None:
    assert refusal(payload) == refused


def test_a_retained_request_is_refused_before_it_is_read() -> None:
    assert refusal(b"{", retain=True) == ("retained", None)


def test_a_payload_at_the_limit_is_taken() -> None:
    payload = as_json(inputs={"x": 1})

    assert read_request(a_delivery(payload.ljust(1024)), RULES).inputs == {"x": 1}


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'{"inputs": {"x": 18446744073709551616}}', None),
        (b'{"max_retries": 18446744073709551616}', None),
        (msgspec.msgpack.encode({"inputs": {"x": {1: 2}}}), MSGPACK),
        (msgspec.msgpack.encode({"inputs": {"x": {None: 2, "a": 1}}}), MSGPACK),
    ],
)
def test_a_value_that_a_job_cannot_carry_is_refused_in_words(payload: bytes, content_type: str | None) -> None:
    with pytest.raises(RefusedError, match="64 bits, or mappings") as refused:
        digest(payload, content_type=content_type)

    assert refused.value.code == "invalid_payload"


def test_what_is_admitted_can_be_carried_by_a_job() -> None:
    payload = msgspec.msgpack.encode({"inputs": {"f": float("inf"), "b": b"\0", "n": -(2**63), "t": NOON, "d": {}}})
    request = read_request(a_delivery(payload, content_type=MSGPACK), RULES)

    job = admitted(request).job

    assert read_job_data(msgspec.msgpack.encode(job_data(job))) == job


@pytest.mark.parametrize("name", ["timeout_s", "retry_delay"])
@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan"), -1])
def test_a_span_that_no_timer_can_hold_is_refused(name: str, seconds: float) -> None:
    payload = msgspec.msgpack.encode({name: seconds})

    assert refusal(payload, content_type=MSGPACK) == ("invalid_payload", f"$.{name}")


# Overrides.

VALUES: dict[str, Any] = {
    "config": {},
    "cache": False,
    "executor": "ray",
    "with_adapter": {},
    "max_retries": 0,
    "retry_delay": 0,
    "jitter_factor": 0,
    "retry_exceptions": [],
    "timeout_s": 1,
    "log_level": "",
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_override_is_refused_where_the_pipeline_does_not_list_it(name: str) -> None:
    request = RunRequest(run_id="r", **{name: VALUES[name]})

    with pytest.raises(RefusedError, match=f"may not set '{name}'") as refused:
        check_overrides(request, PipelineConfig())

    assert (refused.value.code, refused.value.field, refused.value.request.run_id) == ("not_allowed", f"$.{name}", "r")


def test_an_override_is_taken_where_the_pipeline_lists_it() -> None:
    check_overrides(RunRequest(config={"a": 1}, timeout_s=5), OPEN)

    with pytest.raises(RefusedError, match="max_retries"):
        check_overrides(RunRequest(timeout_s=5, max_retries=1), OPEN)


@pytest.mark.parametrize("settings", [{"executor": "quantum"}, {"cache": {"recompte": ["raw"]}}])
def test_an_override_that_is_allowed_but_means_nothing_is_refused_at_the_door(settings: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="settings cannot be used") as refused:
        check_overrides(RunRequest(**settings), PipelineConfig(allow_overrides=["executor", "cache"]))
    assert refused.value.code == "invalid_payload"


# Admission.


def test_the_defaults_come_from_the_pipeline_and_then_from_the_limits() -> None:
    plain, configured = admitted(RunRequest()).job, admitted(RunRequest(), "open").job

    assert (plain.timeout_s, plain.queue, plain.lost_attempts, plain.dedup_window_s) == (3600, "default", 3, 86_400)
    assert (configured.timeout_s, configured.queue) == (9, "low")


def test_the_request_wins_over_the_pipeline() -> None:
    job = admitted(RunRequest(timeout_s=2, priority=Priority.HIGH), "open").job

    assert (job.timeout_s, job.queue) == (2, "high")


def test_an_id_is_minted_only_where_the_publisher_gave_none() -> None:
    given, none = admitted(RunRequest(run_id="mine")), admitted(RunRequest())

    assert (given.job.run_id, given.minted) == ("mine", False)
    assert (none.job.run_id, none.minted) == ("minted", True)


def test_minted_ids_are_run_ids_and_differ() -> None:
    ids = {mint_run_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(is_run_id(run_id) for run_id in ids)


@pytest.mark.parametrize(("expires_at", "late"), [(NOON, True), (NOON + timedelta(seconds=1), False), (None, False)])
def test_a_request_is_expired_from_its_time_on(expires_at: datetime | None, late: bool) -> None:  # noqa: FBT001
    assert admitted(RunRequest(expires_at=expires_at)).expired is late


def test_times_without_a_zone_are_in_the_projects() -> None:
    naive = datetime(2026, 11, 22, 13)  # noqa: DTZ001 (that is the point)
    at_noon_utc = RunRequest(expires_at=naive, not_before=naive + timedelta(hours=1))

    admission = admitted(at_noon_utc)

    assert admission.expired
    assert admission.job.not_before == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    "payload", [b'{"not_before": "9999-12-31T23:59:59-12:00"}', b'{"not_before": "0001-01-01T00:00:00"}']
)
def test_a_time_that_has_no_utc_is_refused(payload: bytes) -> None:
    with pytest.raises(RefusedError, match="beyond the years") as refused:
        digest(payload)

    assert (refused.value.code, refused.value.field) == ("invalid_payload", "$.not_before")


def test_a_start_that_lies_behind_is_now() -> None:
    assert admitted(RunRequest(not_before=NOON)).job.not_before is None
    assert admitted(RunRequest(not_before=NOON + timedelta(seconds=1))).job.not_before is not None


@pytest.mark.parametrize(
    "topic", ["pipelines/add/run", "pipelines/x/y/run", "fpbus/call/dispatcher/submit", "$SYS/x", "a/+", "#", "a\0"]
)
@pytest.mark.parametrize("rules", [RULES, UNDER_ROOT])
def test_answers_go_to_no_reserved_topic_under_any_root(topic: str, rules: Rules) -> None:
    topic = rules.root + topic

    with pytest.raises(RefusedError) as in_body:
        admitted(RunRequest(run_id="r", reply_to=topic), rules=rules)
    with pytest.raises(RefusedError) as in_packet:
        admitted(RunRequest(run_id="r"), delivery=a_delivery(response_topic=topic), rules=rules)

    for refused in (in_body, in_packet):
        assert (refused.value.code, refused.value.field) == ("not_allowed", "$.reply_to")


def test_the_body_says_where_answers_go_before_the_packet_does() -> None:
    delivery = a_delivery(response_topic="in/packet", correlation=b"c7")

    from_body = admitted(RunRequest(reply_to="in/body"), delivery=delivery).job
    from_packet = admitted(RunRequest(), delivery=delivery).job

    assert (from_body.request.reply_to, from_body.correlation) == ("in/body", b"c7")
    assert from_packet.request.reply_to == "in/packet"


@pytest.mark.parametrize(
    ("request_", "delivery"),
    [
        (RunRequest(traceparent=TRACE), None),
        (RunRequest(traceparent=TRACE), a_delivery(user={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"})),
        (RunRequest(), a_delivery(user={"traceparent": TRACE})),
    ],
)
def test_a_trace_is_continued_from_the_body_or_the_packet(request_: RunRequest, delivery: Delivery | None) -> None:
    admission = traced(admitted(request_, delivery=delivery))

    assert admission.job.traceparent is not None
    assert admission.job.traceparent.split("-")[1] == TRACE.split("-")[1]
    assert admission.job.traceparent != TRACE


@pytest.mark.parametrize("garbage", ["", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\u202e" * 60, "1" * 70_000])
def test_a_trace_that_cannot_be_read_is_begun_anew(garbage: str) -> None:
    admission = traced(admitted(RunRequest(), delivery=a_delivery(user={"traceparent": garbage})))

    assert admission.job.traceparent is not None
    assert len(admission.job.traceparent) == len(TRACE)


def test_tracing_changes_nothing_but_the_trace() -> None:
    admission = admitted(RunRequest(expires_at=NOON))

    after = traced(admission)

    assert (after.digest, after.minted, after.expired) == (admission.digest, True, True)


# Digests.


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'{"inputs": {"x": 1, "y": {"a": 1, "b": [2]}}, "key": "k"}', None),
        (b' {"key":"k","inputs":{"y":{"b":[2],"a":1},"x":1},"final_vars":null}', None),
        (as_json(run_id="other", inputs={"y": {"b": [2], "a": 1}, "x": 1}, key="k", traceparent=TRACE), None),
        (as_json(tracestate="a=b", inputs={"y": {"b": [2], "a": 1}, "x": 1}, key="k"), None),
        (msgspec.msgpack.encode({"key": "k", "inputs": {"y": {"b": [2], "a": 1}, "x": 1}}), MSGPACK),
    ],
)
def test_the_same_request_has_one_digest_however_it_is_written(payload: bytes, content_type: str | None) -> None:
    plain = as_json(inputs={"x": 1, "y": {"a": 1, "b": [2]}}, key="k")

    assert digest(payload, content_type=content_type) == digest(plain)


def test_one_moment_has_one_digest_in_every_zone() -> None:
    moments = ("2026-11-22T13:00:00", "2026-11-22T12:00:00Z", "2026-11-22T14:00:00+02:00")

    assert len({digest(as_json(not_before=moment)) for moment in moments}) == 1


def test_another_request_has_another_digest() -> None:
    payloads = [
        b"{}",
        as_json(inputs={}),
        as_json(inputs={"x": 1}),
        as_json(inputs={"x": 2}),
        as_json(inputs={"x": "1"}),
    ]
    payloads += [as_json(key="k"), as_json(priority="high"), as_json(final_vars=[]), as_json(inputs={"x": [1]})]

    digests = [digest(payload) for payload in payloads] + [digest(b"{}", "open")]

    assert len(set(digests)) == len(digests)
    assert {len(one) for one in digests} == {16}


def test_where_the_answer_goes_in_the_packet_is_no_part_of_the_digest() -> None:
    with_topic = admitted(RunRequest(), delivery=a_delivery(response_topic="devices/a"))

    assert with_topic.digest == digest_of("add", RunRequest())


# Answers.


def test_a_rejection_says_which_message_it_was_and_who_waits() -> None:
    delivery = a_delivery(b"\xff" * 300, correlation=b"c\xff", topic="pipelines/add/run")

    rejection = rejection_of(delivery, conflict(RunRequest(run_id="r")), NOON)

    assert (rejection.code, rejection.field, rejection.run_id) == ("conflict", "$.run_id", "r")
    assert (rejection.pipeline, rejection_topic(rejection)) == ("add", "pipelines/add/rejected")
    assert rejection.digest == blake2b(delivery.payload, digest_size=16).hexdigest()
    assert (rejection.size, rejection.head, rejection.reply_id) == (300, "\ufffd" * 120, "c\ufffd")


@pytest.mark.parametrize("name", ["nobody", "../x", "y" * 60_000])
def test_a_rejection_never_has_a_foreign_name_in_its_topic(name: str) -> None:
    delivery = a_delivery(topic=f"pipelines/{name}/run")
    with pytest.raises(RefusedError) as refused:
        pipeline_of(delivery.topic, RULES)

    rejection = rejection_of(delivery, refused.value, NOON)

    assert (rejection_topic(rejection), rejection.pipeline, rejection.reply_id) == ("fpbus/rejected", None, None)
    assert len(rejection.topic) <= 200


def test_a_new_run_is_accepted_and_a_repeat_hears_how_far_it_is() -> None:
    admission = admitted(RunRequest(run_id="r", key="k"))

    new = status_of(admission, Outcome("new", "r", RunState.QUEUED))
    again = status_of(admission, Outcome("same", "r", RunState.SUCCEEDED))

    assert (new.state, new.duplicate, new.run_state, new.key) == ("accepted", False, None, "k")
    assert (again.state, again.duplicate, again.run_state) == ("accepted", True, "succeeded")


def test_a_delayed_run_is_told_so() -> None:
    admission = admitted(RunRequest(not_before=NOON + timedelta(hours=1)))

    status = status_of(admission, Outcome("new", "minted", RunState.DELAYED))

    assert (status.run_state, status.not_before) == ("delayed", NOON + timedelta(hours=1))


def test_a_redelivery_without_an_id_is_answered_with_the_id_of_the_first() -> None:
    status = status_of(admitted(RunRequest()), Outcome("same", "first", RunState.QUEUED))

    assert (status.run_id, status.duplicate) == ("first", True)


@pytest.mark.parametrize(
    ("kind", "code"), [("conflict", "conflict"), ("expired", "expired"), ("new", None), ("same", None)]
)
def test_the_ledger_refuses_a_conflict_and_what_comes_too_late(kind: str, code: str | None) -> None:
    admission = admitted(RunRequest(run_id="r", expires_at=NOON))

    refused = refusal_of(admission, Outcome(kind, "r", RunState.QUEUED))

    assert (refused.code if refused else None) == code


def test_an_expired_request_is_told_when_it_expired() -> None:
    assert "2026-11-22 12:00:00+00:00" in str(expired(RunRequest(expires_at=NOON)))


# Lost and cancelled.


@pytest.mark.parametrize(("allowed", "lost_before", "dead"), [(3, 0, False), (3, 1, False), (3, 2, True), (1, 0, True)])
def test_a_run_is_dead_when_it_has_lost_its_last_attempt(allowed: int, lost_before: int, dead: bool) -> None:  # noqa: FBT001
    rules = Rules(RULES.pipelines, LimitsConfig(lost_attempts=allowed), BERLIN)
    job = admitted(RunRequest(run_id="r", key="k"), rules=rules).job

    result = lost_result(job, 7, lost_before, NOON)

    assert (result is not None) is dead
    if result is not None:
        assert (result.state, result.attempt, result.key, result.finished_at) == ("dead", 7, "k", NOON)
        assert result.error is not None
        assert (result.error.code, result.error.message) == (
            FailureCode.WORKER_LOST,
            f"The worker was lost {allowed} times while it ran this.",
        )


def test_a_run_that_is_cancelled_before_it_starts_has_no_start() -> None:
    job = traced(admitted(RunRequest(run_id="r"))).job

    result = cancelled_result(job, 0, NOON)

    assert (result.state, result.attempt, result.started_at) == ("cancelled", 0, None)
    assert (result.run_id, result.accepted_at, result.traceparent) == ("r", NOON, job.traceparent)
    assert result.error is not None
    assert result.error.code == "cancelled"
