"""What services say of themselves is true."""

import json
import signal
from pathlib import Path
from typing import Any

from support.device import Device
from support.servers import Broker, Redis
from support.stack import Stack
from support.waiting import wait_for


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
