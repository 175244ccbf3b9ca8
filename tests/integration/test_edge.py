"""The publisher for devices: what it keeps, in which order it sends, and what it says."""

import ast
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fpbus import edge
from fpbus.edge import (
    AddressError,
    MessageError,
    OutboxFullError,
    OutboxInUseError,
    Publisher,
    RejectedError,
    Rejection,
)
from support.device import Device
from support.servers import Broker, Redis
from support.servers import mosquitto as make_mosquitto
from support.stack import Stack
from support.waiting import wait_for

NOWHERE = "mqtt://127.0.0.1:1"


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "edge.db"


@pytest.fixture
def stack(tmp_path: Path, mosquitto: Broker, redis_server: Redis) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack", mosquitto.url, redis_server.url)
    yield made.start("dispatcher")
    made.stop()


@pytest.fixture
def device(mosquitto: Broker) -> Iterator[Device]:
    made = Device(mosquitto.url)
    yield made
    made.close()


def accepted(device: Device) -> list[str]:
    """Return run ids in the order in which they were first accepted."""
    said = device.messages(ending="/status")
    return [status["run_id"] for status in said if status["state"] == "accepted" and not status.get("duplicate")]


# The outbox.


def test_messages_wait_for_a_broker_that_is_away_also_through_a_restart(outbox: Path, tmp_path: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        publisher.publish("add", {"x": 1})
        wait_for(lambda: publisher.trouble != "not connected yet", what="an attempt")
        assert "refused" in str(publisher.trouble)
        with pytest.raises(TimeoutError, match="1 messages wait"):
            publisher.flush(0.1)

    with Publisher(NOWHERE, outbox=outbox) as publisher:
        assert publisher.pending() == 1


def test_a_second_publisher_on_the_same_outbox_is_refused(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox):
        other = subprocess.run(
            [sys.executable, "-m", "fpbus.edge", NOWHERE, "add", "--outbox", outbox],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        with pytest.raises(OutboxInUseError, match="each its own"):
            Publisher(NOWHERE, outbox=outbox)

    assert (other.returncode, "is open in another publisher" in other.stderr) == (8, True)
    Publisher(NOWHERE, outbox=outbox).close()


def test_nobody_else_may_read_the_outbox(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        publisher.publish("add", {"x": 1})
        modes = {stat.S_IMODE(path.stat().st_mode) for path in outbox.parent.glob("edge.db*")}

    assert modes == {0o600}


def test_a_full_outbox_refuses(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox, max_messages=2) as publisher:
        first = publisher.publish("add", {"x": 1})
        publisher.publish("add", {"x": 2})
        with pytest.raises(OutboxFullError, match="2 messages"):
            publisher.publish("add", {"x": 3})

        assert publisher.publish("add", {"x": 1}, run_id=first) == first, "it is stored already"
        assert publisher.pending() == 2


def test_a_full_outbox_drops_the_oldest_when_told_to_and_says_which(outbox: Path) -> None:
    told: list[Rejection] = []
    with Publisher(
        NOWHERE, outbox=outbox, max_messages=2, when_full="drop-oldest", on_rejected=told.append
    ) as publisher:
        runs = [publisher.publish("add", {"x": number}, key="k") for number in range(4)]
        with pytest.raises(RejectedError, match="dropped"):
            publisher.wait(runs[0], 5)

        assert (publisher.pending(), publisher.counts()) == (2, {"dropped": 2})
    assert [(rejection.run_id, rejection.code) for rejection in told] == [(run, "dropped") for run in runs[:2]]


def publish_together(publisher: Publisher, count: int, last: dict[str, Any] | None = None) -> None:
    with publisher.together():
        for number in range(count):
            publisher.publish("add", {"x": number})
        if last is not None:
            publisher.publish("add", last)


def test_messages_that_are_published_together_are_stored_together(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox, max_messages=5) as publisher:
        with publisher.together():
            first = publisher.publish("add", {"x": 1})
            with publisher.together():
                publisher.publish("add", {"x": 2})
            assert publisher.pending() == 0, "nothing is on disk before the block has ended"
        assert publisher.pending() == 2

        with pytest.raises(OutboxFullError):
            publish_together(publisher, 4)
        with pytest.raises(MessageError):
            publish_together(publisher, 2, {"x": object()})
        assert publisher.pending() == 2, "all or none"

        publisher.publish("add", {"x": 3})
        assert publisher.pending() == 3
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        assert publisher.pending() == 3
        assert publisher.publish("add", {"x": 1}, run_id=first) == first
        assert publisher.pending() == 3


def test_a_publisher_in_another_thread_is_not_held_up_by_a_block(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher, publisher.together():
        publisher.publish("add", {"x": 1})
        other = threading.Thread(target=publisher.publish, args=("add", {"x": 2}))
        other.start()
        other.join(10)

        assert publisher.pending() == 1


def test_what_is_past_its_deadline_is_given_up(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        late = publisher.publish("add", {"x": 1}, expires_in=timedelta(milliseconds=1))
        publisher.publish("add", {"x": 1}, expires_at=datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(RejectedError, match="before it could be sent"):
            publisher.wait(late, 10)

        assert publisher.pending() == 1


def test_rejections_are_told_also_by_a_later_process(outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox, max_messages=1, when_full="drop-oldest") as publisher:
        dropped = publisher.publish("add", {"x": 1})
        publisher.publish("add", {"x": 2})

    told: list[Rejection] = []
    Publisher(NOWHERE, outbox=outbox, on_rejected=told.append).close()
    Publisher(NOWHERE, outbox=outbox, on_rejected=told.append).close()

    assert [rejection.run_id for rejection in told] == [dropped]


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"pipeline": "No/Name"}, "cannot name a pipeline"),
        ({"run_id": "a b"}, "no run id"),
        ({"inputs": {"x": object()}}, "no JSON"),
        ({"inputs": {"x": "y" * 2**20}}, "more than may be sent"),
        ({"expires_at": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 (that is the point)
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_at_once(outbox: Path, message: dict[str, Any], sentence: str) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        publish: Callable[..., str] = publisher.publish
        with pytest.raises(MessageError, match=sentence):
            publish(**{"pipeline": "add"} | message)

        assert publisher.pending() == 0


def test_no_password_is_ever_shown(outbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Publisher("mqtt://ann:s3cret@127.0.0.1:1", outbox=outbox) as publisher:
        wait_for(lambda: publisher.trouble != "not connected yet", what="an attempt")
        parts = [vars(part) for part in vars(publisher).values() if hasattr(part, "__dict__")]
        shown = f"{vars(publisher)} {parts} {publisher.trouble}"
    with pytest.raises(AddressError) as refused:
        Publisher("http://ann:s3cret@host", outbox=outbox)

    assert "s3cret" not in shown + str(refused.value) + caplog.text
    assert b"s3cret" not in outbox.read_bytes()


# With a broker and a dispatcher.


@pytest.mark.parametrize("query", ["", "?protocol=3.1.1"])
@pytest.mark.parametrize("reply_to", [None, "devices/boiler-7/answers"])
def test_every_message_gets_its_answer(
    stack: Stack, mosquitto: Broker, outbox: Path, query: str, reply_to: str | None
) -> None:
    with Publisher(mosquitto.url + query, outbox=outbox, reply_to=reply_to) as publisher:
        run_id = publisher.publish("add", {"x": 1}, run_id="taken")
        publisher.wait(run_id, 20)
        publisher.wait(publisher.publish("add", {"x": 1}, run_id="taken"), 20)
        publisher.publish("add", {"x": 2}, run_id="taken")
        with pytest.raises(RejectedError, match="conflict"):
            publisher.wait("taken", 20)
        unknown = publisher.publish("dayly", {"x": 1})
        with pytest.raises(RejectedError, match="no pipeline 'dayly'"):
            publisher.wait(unknown, 20)

        assert publisher.counts() == {"accepted": 2, "conflict": 1, "unknown_pipeline": 1}
        assert publisher.pending() == 0


def test_messages_of_a_key_are_accepted_in_order(stack: Stack, mosquitto: Broker, device: Device, outbox: Path) -> None:
    with Publisher(NOWHERE, outbox=outbox) as publisher:
        for number in range(60):
            publisher.publish("add", {"x": number}, key=f"k{number % 3}", run_id=f"{number % 3}-{number:02}")
    with Publisher(mosquitto.url, outbox=outbox) as publisher:
        publisher.flush(30)

    order = wait_for(lambda: done if len(done := accepted(device)) == 60 else [], what="60 runs")
    assert all(
        [run for run in order if run[0] == key] == sorted(run for run in order if run[0] == key) for key in "012"
    )


def test_a_message_is_not_sent_before_its_predecessor_is_accepted(
    mosquitto: Broker, device: Device, outbox: Path
) -> None:
    device.client.subscribe("pipelines/+/run", 1)

    def sent() -> list[str]:
        return [request["run_id"] for request in device.messages(ending="/run")]

    with Publisher(mosquitto.url, outbox=outbox) as publisher:
        for run_id, key in (("k-0", "k"), ("k-1", "k"), ("free", None)):
            publisher.publish("add", run_id=run_id, key=key)
        wait_for(lambda: sent().count("k-0") == sent().count("free") == 2, what="both once more")
        assert "k-1" not in sent()

        answer = {"type": "run_status", "run_id": "k-0", "pipeline": "add", "state": "accepted"}
        device.publish("pipelines/add/runs/k-0/status", answer)
        wait_for(lambda: "k-1" in sent(), what="its successor")


def test_a_rejected_message_does_not_hold_up_its_key(stack: Stack, mosquitto: Broker, outbox: Path) -> None:
    with Publisher(mosquitto.url, outbox=outbox) as publisher:
        publisher.publish("dayly", {"x": 1}, key="k")
        after = publisher.publish("add", {"x": 2}, key="k")
        publisher.wait(after, 20)


def test_a_confirmation_of_the_broker_is_no_acceptance(mosquitto: Broker, device: Device, outbox: Path) -> None:
    device.client.subscribe("pipelines/+/run", 1)
    with Publisher(mosquitto.url, outbox=outbox) as publisher:
        publisher.publish("add", {"x": 1})
        requests = wait_for(
            lambda: sent if len(sent := device.messages(ending="/run")) >= 2 else [], what="the message once more"
        )

        assert publisher.pending() == 1, "nobody has accepted it"
    assert requests[0] == requests[1]


ACL = """
user service
topic readwrite #
user boiler-7
topic write pipelines/+/run
topic readwrite devices/boiler-7/#
"""


def test_a_device_that_may_only_read_its_own_answers_has_them(
    tmp_path: Path, redis_server: Redis, outbox: Path
) -> None:
    broker = make_mosquitto(tmp_path / "guarded")
    (broker.folder / "acl").write_text(ACL)
    config = Path(broker.command[-1])
    config.write_text(f"{config.read_text()}acl_file {broker.folder}/acl\n")
    service = f"mqtt://service@127.0.0.1:{broker.start().port}"
    stack = Stack(tmp_path / "stack", service, redis_server.url)
    try:
        stack.start("dispatcher")
        with Publisher(f"mqtt://boiler-7@127.0.0.1:{broker.port}", outbox=outbox) as publisher:
            publisher.wait(publisher.publish("add", {"x": 1}), 20)
            wrong = publisher.publish("dayly", {"x": 1})
            with pytest.raises(RejectedError, match="unknown_pipeline"):
                publisher.wait(wrong, 20)
    finally:
        stack.stop()
        broker.stop()


# `python -m fpbus.edge`.

Forward = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def forward(tmp_path: Path) -> Forward:
    def run(url: str, *options: str, lines: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "fpbus.edge", url, "add", "--outbox", str(tmp_path / "cli.db"), *options]
        return subprocess.run(command, input=lines, capture_output=True, text=True, check=False, timeout=60)

    return run


def test_lines_become_runs(stack: Stack, mosquitto: Broker, device: Device, forward: Forward) -> None:
    done = forward(mosquitto.url, "--key-field", "x", "--device", "pump", lines='{"x": 1}\n\n{"x": 2}\n')

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    statuses = wait_for(lambda: said if len(said := device.messages(ending="/status")) == 2 else [], what="two runs")
    assert sorted((status["key"], status["request"]["inputs"]["x"]) for status in statuses) == [("1", 1), ("2", 2)]
    assert all(status["run_id"].startswith("pump_") for status in statuses)


def test_lines_of_text_are_one_input(stack: Stack, mosquitto: Broker, device: Device, forward: Forward) -> None:
    done = forward(mosquitto.url, "--format", "text", "--input", "line", lines="ann: hello \n")

    assert done.returncode == 0, done.stderr
    (status,) = wait_for(lambda: device.messages(ending="/status"), what="the run")
    assert status["request"]["inputs"] == {"line": "ann: hello "}


def test_a_line_that_is_none_is_told_with_its_number(stack: Stack, mosquitto: Broker, forward: Forward) -> None:
    done = forward(mosquitto.url, "--key-field", "x", lines='{"x": 1}\n[1]\n{"y": 2}\n')

    assert done.returncode == 3
    assert "rejected line 2: no JSON object" in done.stderr
    assert "rejected line 3: no field 'x'" in done.stderr


def test_the_wait_for_answers_ends(mosquitto: Broker, forward: Forward) -> None:
    nobody_accepts = forward(mosquitto.url, "--timeout", "0.5", lines='{"x": 1}\n')
    no_broker = forward(NOWHERE, "--timeout", "0.5", lines="")

    assert (nobody_accepts.returncode, no_broker.returncode) == (124, 5)
    assert "1 messages wait in" in no_broker.stderr


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://host", []),
        (NOWHERE, ["--format", "text"]),
        (NOWHERE, ["--expires-in", "soon"]),
        (NOWHERE, ["--password-file", "/nowhere"]),
    ],
)
def test_wrong_use_is_told(forward: Forward, url: str, options: list[str]) -> None:
    assert forward(url, *options, lines="").returncode == 2


def test_an_interrupted_forwarder_keeps_what_it_has_read(tmp_path: Path) -> None:
    outbox = tmp_path / "cli.db"
    command = [sys.executable, "-m", "fpbus.edge", NOWHERE, "add", "--outbox", str(outbox)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write('{"x": 1}\n')
        process.stdin.flush()
        wal = outbox.with_name("cli.db-wal")
        wait_for(lambda: wal.exists() and b'"inputs":{"x":1}' in wal.read_bytes(), what="the message on disk")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert process.returncode == 130
    assert f"1 messages wait in {outbox}; they are sent the next time.\n" in told
    with sqlite3.connect(outbox) as database:
        assert database.execute("select count(*) from messages").fetchone() == (1,)
    database.close()


# Alone on a device.


def test_it_works_when_copied_alone(tmp_path: Path) -> None:
    place = tmp_path / "device"
    place.mkdir()
    shutil.copy(str(edge.__file__), place)
    packages = Path(sysconfig.get_paths()["purelib"])
    for package in ("paho", "msgspec"):
        (place / package).symlink_to(packages / package)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(place)], capture_output=True, text=True, check=False, cwd=place
    )

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from edge import Publisher
with Publisher("mqtt://127.0.0.1:1", outbox="edge.db") as publisher:
    publisher.publish("add", {"x": 1})
    print(publisher.pending())
"""


def test_it_imports_nothing_else() -> None:
    tree = ast.parse(Path(str(edge.__file__)).read_text(encoding="utf-8"))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }

    assert names - sys.stdlib_module_names == {"paho", "msgspec"}
