"""The Python face of the bus, against a real broker and services that answer from a script."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from fpbus.bus import NoAnswerError, open_bus
from fpbus.control import (
    Control,
    NotConnectedError,
    NotFoundError,
    RejectedError,
    RunEvent,
    UnavailableError,
    WaitTimedOutError,
    Watch,
)
from fpbus.lifecycle import Settings
from fpbus.schemas import ListRuns, RunRequest, RunResult, RunState, RunStatus, topics
from support.servers import Broker, free_port
from support.standins import StandIns, standing_in


@pytest.fixture
def services(mosquitto: Broker) -> Iterator[StandIns]:
    with standing_in(mosquitto.url) as services:
        yield services


@pytest.fixture
def control(mosquitto: Broker) -> Iterator[Control]:
    with Control.connect(Settings(mqtt_url=mosquitto.url)) as control:
        yield control


def test_a_broker_that_is_not_there_is_told_with_a_hint() -> None:
    url = f"mqtt://user:secret@127.0.0.1:{free_port()}"

    with pytest.raises(NotConnectedError) as error, Control.connect(Settings(mqtt_url=url), timeout_s=0.3):
        pass

    assert str(error.value).endswith("after 0.3 s (connection refused).")
    assert "secret" not in str(error.value)
    assert error.value.hint == "Is a broker running? Try `fpbus up`."
    assert error.value.exit_code == 5


def test_a_submitted_run_is_accepted_under_an_id_of_its_own(services: StandIns, control: Control) -> None:
    first = control.submit("hello", RunRequest(inputs={"celsius": 25}))
    second = control.submit("hello", RunRequest(inputs={"celsius": 25}))

    assert first.state is RunState.ACCEPTED
    assert first.run_id != second.run_id
    assert [submit.request.inputs for submit in services.requests] == [{"celsius": 25}] * 2


def test_a_repeat_with_the_same_id_says_so(services: StandIns, control: Control) -> None:
    control.submit("slow", RunRequest(run_id="r1"))

    again = control.submit("slow", RunRequest(run_id="r1"))

    assert (again.duplicate, again.run_state) == (True, RunState.QUEUED)


def test_a_request_is_asked_again_until_somebody_answers(
    mosquitto: Broker, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpbus.control.control._ASK_AGAIN_S", 0.3)
    with ThreadPoolExecutor() as pool:
        submitted = pool.submit(control.submit, "hello")  # nobody is there yet, so the first question is lost

        with standing_in(mosquitto.url) as services:
            status = submitted.result(10)

    assert [status.run_id] == list(services.runs)
    assert not status.duplicate


@pytest.mark.parametrize(
    ("pipeline", "error", "sentence"),
    [
        ("helo", NotFoundError, "There is no pipeline 'helo' in this project."),
        ("picky", RejectedError, "inputs.x: Expected `float`."),
        ("No Such", RejectedError, "'No Such' cannot name a pipeline."),
        ("busy", UnavailableError, "Redis is not there."),
    ],
)
def test_a_refusal_has_its_own_error(
    services: StandIns, control: Control, pipeline: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        control.submit(pipeline)

    assert str(caught.value) == sentence


def test_a_run_is_told_from_its_acceptance_to_its_result(services: StandIns, control: Control) -> None:
    events = list(control.run("hello", timeout_s=10))

    assert isinstance(events[0], RunStatus)
    assert isinstance(events[-1], RunResult)
    assert {type(event).__name__ for event in events} == {"RunStatus", "LogLines", "RunResult"}
    assert events[-1].outputs["fahrenheit"].json == 77.0


def test_a_run_that_had_ended_before_is_told_at_once(services: StandIns, control: Control) -> None:
    request = RunRequest(run_id="r1")
    *_, first = control.run("hello", request, timeout_s=10)

    accepted, result = control.run("hello", request, timeout_s=10)

    assert isinstance(accepted, RunStatus)
    assert accepted.duplicate
    assert result == first


def test_waiting_ends_and_the_run_goes_on(services: StandIns, control: Control) -> None:
    control.submit("slow", RunRequest(run_id="r1"))

    with pytest.raises(WaitTimedOutError) as error:
        control.wait("r1", timeout_s=0.2)

    assert error.value.exit_code == 124
    assert services.runs["r1"].state is RunState.QUEUED


def test_a_result_that_was_never_heard_is_found_in_the_history(
    services: StandIns, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpbus.control.watching.RECHECK_S", 0.1)
    control.submit("slow", RunRequest(run_id="r1"))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(control.wait, "r1", timeout_s=10)

        services.finish("r1", quietly=True)  # its message was lost while the connection was away

        assert waiting.result(10).state is RunState.SUCCEEDED


def test_a_run_that_nobody_knows_is_not_found(services: StandIns, control: Control) -> None:
    with pytest.raises(NotFoundError, match="There is no run 'nobody'"):
        control.wait("nobody", timeout_s=10)


def test_each_watch_hears_what_it_asked_for(services: StandIns, control: Control) -> None:
    with control.watch(run_id="r1") as one, control.watch(pipeline="broken") as broken, control.watch() as all_of_them:
        control.submit("slow", RunRequest(run_id="r1"))
        control.submit("broken", RunRequest(run_id="r2"))

        heard = [runs_of(watch) for watch in (one, broken, all_of_them)]

    assert heard == [{"r1"}, {"r2"}, {"r1", "r2"}]


def test_a_watch_that_is_closed_hears_nothing_more(services: StandIns, control: Control) -> None:
    with control.watch(run_id="r1") as first:
        pass
    with control.watch(run_id="r1") as second:
        control.submit("slow", RunRequest(run_id="r1"))

        assert run_of(second.next(5)) == "r1"
        assert first.next(0.1) is None


def test_what_is_no_event_is_skipped(services: StandIns, control: Control, mosquitto: Broker) -> None:
    bus = open_bus(mosquitto.url, "noise")
    bus.start()
    with control.watch() as events:
        control.submit("slow", RunRequest(run_id="r1"))
        for topic in (topics.status("p", "r"), topics.result("p", "r"), "pipelines/p/runs/r/unheard-of"):
            bus.publish(topic, b"{").wait(5)
        services.finish("r1")

        heard = [type(events.next(5)) for _ in range(2)]

    bus.stop()
    assert heard == [RunStatus, RunResult]


def test_a_run_can_be_cancelled_once(services: StandIns, control: Control) -> None:
    control.submit("slow", RunRequest(run_id="r1"))

    first, second = control.cancel("r1"), control.cancel("r1")

    assert (first.state, first.cancelling) == (RunState.QUEUED, True)
    assert (second.state, second.cancelling) == (RunState.CANCELLED, False)
    assert control.wait("r1", timeout_s=5).state is RunState.CANCELLED


def test_the_history_is_asked_with_filters(services: StandIns, control: Control) -> None:
    for pipeline, run_id in (("hello", "r1"), ("broken", "r2"), ("slow", "r3")):
        control.submit(pipeline, RunRequest(run_id=run_id))

    assert [run.run_id for run in control.list_runs()] == ["r3", "r2", "r1"]
    assert [run.run_id for run in control.list_runs(ListRuns(state=RunState.FAILED))] == ["r2"]
    assert control.show_run("r1").outputs == {"fahrenheit": {"json": 77.0}}
    assert [stats.pipeline for stats in control.stats("hello")] == ["hello"]


def test_services_are_known_by_what_they_leave_on_the_bus(services: StandIns, control: Control) -> None:
    services.announce("runner")
    services.announce("dispatcher", "degraded")

    before = [(status.role, status.state) for status in control.services()]
    services.announce("dispatcher")
    after = [(status.role, status.state) for status in control.services()]

    assert before == [("dispatcher", "degraded"), ("runner", "ready")]
    assert after == [("dispatcher", "ready"), ("runner", "ready")]


def test_workers_are_asked_of_the_runners_that_are_online(services: StandIns, control: Control) -> None:
    nobody = control.workers()
    services.announce("runner")
    began = time.monotonic()

    workers = control.workers()

    assert nobody == []
    assert [worker.name for worker in workers] == ["one/1"]
    assert time.monotonic() - began < 2, "it waits no longer than for the last runner"


def test_a_service_that_does_not_answer_is_named_with_when_it_was_last_seen(mosquitto: Broker) -> None:
    with standing_in(mosquitto.url) as services:
        services.announce("recorder", "gone", online=False, since=datetime.now(UTC) - timedelta(minutes=3, seconds=5))
    with Control.connect(Settings(mqtt_url=mosquitto.url), timeout_s=0.3) as control:
        with pytest.raises(NoAnswerError) as gone:
            control.list_runs()
        with pytest.raises(NoAnswerError) as unheard:
            control.submit("hello", RunRequest(run_id="r1"))

    assert str(gone.value) == "The recorder did not answer within 0.3 s."
    assert gone.value.hint == "It was last seen connecting 3 minutes ago."
    assert (unheard.value.hint or "").startswith(
        "It has never been seen on this bus. To ask again without a second run, use the run id r1. The run r1 is kept"
    )


def test_the_root_of_a_bus_is_kept_to(mosquitto: Broker) -> None:
    with (
        standing_in(mosquitto.url, root="plant-7"),
        Control.connect(Settings(mqtt_url=mosquitto.url, root="plant-7")) as control,
    ):
        *_, result = control.run("hello", timeout_s=10)

    assert isinstance(result, RunResult)


def runs_of(watch: Watch) -> set[str]:
    """Return the runs that a watch hears of until it is quiet; one event may come twice where watches overlap."""
    heard: set[str] = set()
    while event := watch.next(0.3):
        heard.add(event.run_id)
    return heard


def run_of(event: RunEvent | None) -> str | None:
    return event.run_id if event else None
