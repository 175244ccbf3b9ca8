"""What `Control` was asked to start is on disk until the dispatcher has accepted or rejected it."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fpbus.bus import NoAnswerError
from fpbus.control import Control, NotFoundError, OutboxError, RejectedError, UnavailableError, outbox_of
from fpbus.lifecycle import Settings
from fpbus.schemas import FpbusError, RunRequest, Submit
from support import submitter
from support.commands import Commands
from support.servers import Broker
from support.standins import standing_in
from support.waiting import wait_for


def waiting() -> list[str]:
    with closing(outbox_of(Settings(), "")) as outbox:
        return [request.run_id for request in outbox.waiting()]


def submitting(url: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(submitter.__file__), url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def give_up_on(broker: Broker, run_id: str) -> None:
    """Ask for a run while there is no dispatcher: the broker takes the message, and that is no acceptance."""
    with (
        Control.connect(Settings(mqtt_url=broker.url), timeout_s=0.3) as control,
        pytest.raises(NoAnswerError) as error,
    ):
        control.submit("hello", RunRequest(run_id=run_id))
    assert f"The run {run_id} is kept until" in (error.value.hint or "")


def test_what_nobody_answered_goes_out_with_the_next_run(mosquitto: Broker) -> None:
    give_up_on(mosquitto, "first")
    assert waiting() == ["first"]

    with standing_in(mosquitto.url) as services, Control.connect(Settings(mqtt_url=mosquitto.url)) as control:
        control.submit("hello", RunRequest(run_id="second"))

        assert [submit.request.run_id for submit in services.requests] == ["second", "first"]
    assert waiting() == []


def test_a_request_outlives_its_process(mosquitto: Broker, tmp_path: Path) -> None:
    with submitting(mosquitto.url, "r1") as process:
        try:
            wait_for(waiting, 20)
        finally:
            process.kill()
    file = tmp_path / "state" / "fpbus" / "outbox.db"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (file, file.parent)] == [0o600, 0o700]

    with standing_in(mosquitto.url) as services, Control.connect(Settings(mqtt_url=mosquitto.url)) as control:
        assert list(control.send_waiting()) == []  # for a minute it is that process' own
        with closing(outbox_of(Settings(), "")) as outbox:
            (left,) = outbox.waiting()
        with closing(outbox_of(Settings(), left.bus)) as outbox:
            outbox.keep(left.submit, 0)  # that time is over
        ((request, _),) = control.send_waiting()

        assert (request.run_id, list(services.runs)) == ("r1", ["r1"])
    assert waiting() == []


def test_a_run_whose_acceptance_was_not_heard_stays_one_run(mosquitto: Broker) -> None:
    give_up_on(mosquitto, "r1")
    with standing_in(mosquitto.url) as services, Control.connect(Settings(mqtt_url=mosquitto.url)) as control:
        Control(control._bus).submit(  # pyright: ignore[reportPrivateUsage]  # one without an outbox
            "hello", RunRequest(run_id="r1")
        )  # accepted; the file does not know of it

        list(control.send_waiting())

        assert (len(services.requests), list(services.runs)) == (2, ["r1"])
    assert waiting() == []


def test_several_at_once_lose_nothing(mosquitto: Broker) -> None:
    for number in range(3):
        give_up_on(mosquitto, f"left-{number}")

    def submit(name: str) -> None:
        with Control.connect(Settings(mqtt_url=mosquitto.url), timeout_s=20) as control:
            for number in range(20):
                assert not control.submit("hello", RunRequest(run_id=f"{name}-{number}")).duplicate

    with standing_in(mosquitto.url) as services:
        with ThreadPoolExecutor() as pool:
            list(pool.map(submit, "ab"))

        asked = [submit.request.run_id for submit in services.requests]
        assert len(set(asked)) == len(asked) == 43
    assert waiting() == []


@pytest.mark.parametrize(
    ("pipeline", "error", "left"),
    [("helo", NotFoundError, []), ("picky", RejectedError, []), ("busy", UnavailableError, ["r1"])],
)
def test_only_a_final_answer_ends_a_request(
    mosquitto: Broker, pipeline: str, error: type[FpbusError], left: list[str]
) -> None:
    with (
        standing_in(mosquitto.url),
        Control.connect(Settings(mqtt_url=mosquitto.url)) as control,
        pytest.raises(error),
    ):
        control.submit(pipeline, RunRequest(run_id="r1"))

    assert waiting() == left


def test_nothing_is_sent_that_cannot_be_stored(mosquitto: Broker) -> None:
    with standing_in(mosquitto.url) as services:
        with submitting(mosquitto.url, "r1", "1000") as process:
            told, _ = process.communicate(timeout=60)

        assert process.returncode == OutboxError.exit_code
        assert "outbox.db cannot be used" in told
        assert services.requests == []


def test_a_folder_that_is_none_is_told(mosquitto: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    with (
        standing_in(mosquitto.url) as services,
        Control.connect(Settings(mqtt_url=mosquitto.url)) as control,
        pytest.raises(OutboxError, match="Not a directory"),
    ):
        control.submit("hello")

    assert services.requests == []


def test_what_is_over_is_not_sent_but_told(mosquitto: Broker, tmp_path: Path) -> None:
    bus = mosquitto.url.removeprefix("mqtt://")
    request = RunRequest(run_id="late", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with closing(outbox_of(Settings(), bus)) as outbox:
        outbox.keep(Submit(pipeline="hello", request=request), 0)
    type_ = Commands(tmp_path)
    environment = {"FPBUS_MQTT_URL": mosquitto.url}

    with standing_in(mosquitto.url) as services:
        assert "(over)" in type_("outbox", environment=environment).out
        done = type_("outbox", "--send", environment=environment)

        assert (done.code, services.requests) == (3, [])
        assert done.told.startswith("Dropped late: nobody accepted it until ")
    assert waiting() == []
