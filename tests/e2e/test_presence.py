"""What services say of themselves is true."""

import json
import signal
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from support.device import Device
from support.link import Link
from support.servers import Broker, Redis
from support.stack import Process, Stack
from support.waiting import wait_for

#: What is promised: how long a live service may be called gone, and a dead one online.
LIVE_S: Final = 2.0
DEAD_S: Final = 32.0


def watch_presence(device: Device) -> list[dict[str, Any]]:
    """Return a list that grows with what services say."""
    heard: list[dict[str, Any]] = []
    device.client.message_callback_add(
        "fpbus/services/#", lambda _client, _data, message: heard.append(json.loads(message.payload))
    )
    device.client.subscribe("fpbus/services/#", 1)
    return heard


def test_a_service_is_ready_then_gone_and_a_killed_one_is_told_by_its_will(stack: Stack, device: Device) -> None:
    heard = watch_presence(device)
    stack.start("dispatcher", "runner")
    wait_for(lambda: {one["role"] for one in heard if one["state"] == "ready"} == {"dispatcher", "runner"})

    stack.kill("runner")
    wait_for(lambda: heard and heard[-1]["state"] == "gone", what="the will")
    stack.stop()
    wait_for(lambda: [one for one in heard if one["role"] == "dispatcher"][-1]["state"] == "gone", what="the goodbye")

    runner = [one["state"] for one in heard if one["role"] == "runner"]
    dispatcher = [one["state"] for one in heard if one["role"] == "dispatcher"]
    assert runner == ["init", "ready", "gone"]
    assert dispatcher[-2:] == ["stopping", "gone"]


def test_a_runner_says_that_redis_is_away_and_that_it_is_there_again(
    stack: Stack, device: Device, redis_server: Redis
) -> None:
    heard = watch_presence(device)
    stack.start("runner")
    wait_for(lambda: heard and heard[-1]["state"] == "ready", what="the runner")

    redis_server.kill()
    wait_for(lambda: heard[-1]["state"] == "degraded", what="it to tell that Redis is away")
    reason = heard[-1]["reason"]
    redis_server.start()
    wait_for(lambda: heard[-1]["state"] == "ready", what="it to be well again")

    assert reason.startswith("Redis: ")
    assert "reason" not in heard[-1]
    assert stack.stop() == {"runner": 0}


def test_of_two_runners_with_one_name_the_older_gives_way_and_says_why(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis
) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url).start("runner")
    older = stack.processes["runner"]

    newer = stack.process("runner").start().wait_ready()
    popen = older.popen
    assert popen is not None
    wait_for(lambda: popen.poll() is not None, what="the end of the older one")

    assert older.kill() == 1
    said = older.log.read_text()
    assert "Error: The runner t has stopped: another runner named t has been started (pid " in said
    assert "Give each a name of its own: --instance NAME, or FPBUS_INSTANCE." in said
    assert newer.kill(signal.SIGTERM) == 0


# Never gone for long while it lives.


def statuses(heard: list[dict[str, Any]], instance: str = "t") -> list[str]:
    return [one["state"] for one in heard if one["instance"] == instance]


def wait_back(heard: list[dict[str, Any]], instance: str = "t", patience_s: float = LIVE_S) -> None:
    wait_for(lambda: statuses(heard, instance)[-1:] == ["ready"], patience_s, f"{instance} to be back")


def wait_gone(heard: list[dict[str, Any]], instance: str, patience_s: float) -> None:
    wait_for(lambda: statuses(heard, instance)[-1:] == ["gone"], patience_s, f"the will of {instance}")


@pytest.mark.parametrize("older_s", [0, 60], ids=["its own", "of an earlier process"])
def test_a_will_that_comes_late_is_put_right_at_once(stack: Stack, device: Device, older_s: int) -> None:
    heard = watch_presence(device)
    stack.start("runner")
    wait_back(heard, patience_s=15)
    born = heard[-1]
    started = born["started"] if not older_s else "2026-01-01T00:00:00Z"

    late = born | {"started": started, "online": False, "state": "gone", "active": False, "reason": "vanished"}
    device.publish("fpbus/services/runner/t/status", late, retain=True)
    wait_for(lambda: "gone" in statuses(heard), what="the will")

    wait_back(heard)
    assert heard[-1] == born
    assert stack.stop() == {"runner": 0}


def test_after_a_cut_of_the_network_the_service_is_soon_back(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis, device: Device
) -> None:
    link = Link(mosquitto.port)
    heard = watch_presence(device)
    stack = Stack(tmp_path / "stack", f"mqtt://127.0.0.1:{link.port}", redis_server.url).start("runner")
    wait_back(heard, patience_s=15)

    for _ in range(3):
        link.cut()
        wait_for(lambda: statuses(heard)[-1] == "gone", what="the will")
        link.mend()
        wait_back(heard)

    assert stack.stop() == {"runner": 0}
    link.close()


def test_however_long_the_broker_was_away_services_are_soon_back(
    tmp_path: Path, mosquitto: Broker, redis_server: Redis
) -> None:
    stack = Stack(tmp_path / "stack", mosquitto.url, redis_server.url).start("runner", "recorder")
    mosquitto.kill(signal.SIGTERM)  # says all wills, and writes them down
    with refusing(mosquitto.port) as attempts:
        wait_for(lambda: len(attempts) >= 16, 60, "many attempts to come back")
    mosquitto.start()
    device = Device(mosquitto.url)
    heard = watch_presence(device)

    def both_are_back() -> bool:
        return {one["role"]: one["state"] for one in heard} == {"runner": "ready", "recorder": "ready"}

    wait_for(both_are_back, LIVE_S, "both to be back")

    device.close()
    assert stack.stop() == {"runner": 0, "recorder": 0}


@contextmanager
def refusing(port: int) -> Generator[list[float]]:
    """Hang up on everybody who comes to this port; yield the times at which they came."""
    attempts: list[float] = []
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        try:
            while True:
                listener.accept()[0].close()
                attempts.append(time.monotonic())
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield attempts
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


# Never online for long when it is dead.


def test_the_killed_the_frozen_and_the_unreachable_are_gone_in_time_and_the_living_come_back(
    stack: Stack, device: Device, mosquitto: Broker
) -> None:
    heard = watch_presence(device)
    link = Link(mosquitto.port)
    runners = {
        name: Process(
            "runner",
            stack.environment | {"FPBUS_INSTANCE": name, "FPBUS_MQTT_URL": f"mqtt://127.0.0.1:{port}"},
            stack.folder / f"{name}.log",
        ).start()
        for name, port in (("killed", mosquitto.port), ("frozen", mosquitto.port), ("cut-off", link.port))
    }
    for name, runner in runners.items():
        runner.wait_ready()
        wait_back(heard, name, 15)

    frozen = runners["frozen"].popen
    assert frozen is not None
    try:
        link.swallow()
        frozen.send_signal(signal.SIGSTOP)
        runners["killed"].kill()
        wait_gone(heard, "killed", LIVE_S)
        wait_gone(heard, "frozen", DEAD_S)
        wait_gone(heard, "cut-off", DEAD_S)

        frozen.send_signal(signal.SIGCONT)
        wait_back(heard, "frozen")
        link.mend()
        wait_back(heard, "cut-off", 5 + LIVE_S)  # it waits for an answer that the hole has swallowed
    finally:
        frozen.send_signal(signal.SIGCONT)
        codes = [runners[name].kill(signal.SIGTERM) for name in ("frozen", "cut-off")]
        link.close()
    assert codes == [0, 0]
