"""Devices that know nothing of fpbus start pipelines: real brokers, real services, a plain MQTT client."""

import functools
import json
import random
import threading
from typing import Any

import paho.mqtt.client as paho

from fpbus.control import Control
from fpbus.lifecycle import Settings
from fpbus.schemas import TriggerInfo
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

READ = """
triggers:
  - topic: zigbee2mqtt/{device}
    when: payload.x >= 0
    inputs: {x: payload.x}
    key: captures.device
    reply_to: answers/{device}
"""


class Listener:
    """Hears topics that a device subscribes to for itself."""

    def __init__(self, device: Device, *topics: str) -> None:
        self.heard: list[dict[str, Any]] = []
        for topic in topics:
            device.client.message_callback_add(topic, self._on_message)
            device.client.subscribe(topic, 1)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.heard.append(json.loads(message.payload))


def add_triggers(stack: Stack, text: str) -> None:
    path = stack.project / "conf" / "pipelines" / "add.yml"
    path.write_text(path.read_text() + text)


def has_run(stack: Stack, least: int) -> bool:
    return len(stack.executions()) > least


def test_a_device_topic_starts_a_pipeline_and_hears_its_answer(stack: Stack, device: Device) -> None:
    add_triggers(stack, READ)
    stack.start()
    answers = Listener(device, "answers/kitchen")

    for payload in ({"x": 20, "battery": 80}, {"x": -1}, {"y": 1}):
        device.publish("zigbee2mqtt/kitchen", payload)
    device.publish("zigbee2mqtt/kitchen", b"off")
    device.publish("zigbee2mqtt/kitchen", {"x": 21})

    wait_for(lambda: len(answers.heard) >= 3, 30, "two results and a rejection")
    rejections = [each for each in answers.heard if each["type"] == "rejection"]
    assert [(each["code"], each["field"], each["pipeline"]) for each in rejections] == [("invalid_payload", "$", "add")]
    results = [each for each in answers.heard if each["type"] == "run_result"]
    assert sorted(each["outputs"]["answer"]["json"] for each in results) == [41, 43]
    assert {each["key"] for each in results} == {"kitchen"}
    assert sorted(stack.executions()) == [20, 21]


def test_messages_without_a_number_are_neither_lost_nor_doubled_when_the_dispatcher_dies(
    stack: Stack, device: Device
) -> None:
    add_triggers(stack, READ)
    stack.add_pipeline("also", "def seen(x: int) -> int:\n    return x\n", READ.replace("answers", "others"))
    stack.start()
    runs, chance = 600, random.Random(11)

    def publish() -> None:
        for number in range(runs):
            device.publish(f"zigbee2mqtt/{number % 7}", {"x": number}).wait_for_publish(30)

    publisher = threading.Thread(target=publish)
    publisher.start()
    for kill in range(4):
        least = chance.randint(kill * 100, kill * 100 + 100)
        wait_for(functools.partial(has_run, stack, least), 60, f"{least} runs")
        stack.restart("dispatcher")
    publisher.join()

    stack.wait_records(2 * runs, 90)
    wait_for(lambda: len(device.result_counts()) == 2 * runs, 30, "a result for each run")
    assert sorted(stack.executions()) == list(range(runs))
    also = [each["outputs"]["seen"]["json"] for each in device.results() if each["pipeline"] == "also"]
    assert sorted(set(also)) == list(range(runs))
    assert len(stack.records()) == 2 * runs


def test_triggers_follow_their_file_without_a_restart(stack: Stack, device: Device) -> None:
    add_triggers(stack, READ)
    stack.start()
    device.publish("zigbee2mqtt/a", {"x": 1})
    stack.wait_records(1)

    path = stack.project / "conf" / "pipelines" / "add.yml"
    path.write_text(path.read_text().replace("zigbee2mqtt/", "shellies/"))

    def heard() -> bool:
        device.publish("zigbee2mqtt/a", {"x": 2})
        device.publish("shellies/a", {"x": 3})
        return 3 in stack.executions()

    wait_for(heard, 30, "the new topic")
    before = stack.executions().count(2)
    for _ in range(20):
        device.publish("zigbee2mqtt/a", {"x": 2})
    device.publish("shellies/a", {"x": 4})
    wait_for(lambda: 4 in stack.executions(), 30, "the new topic")
    assert stack.executions().count(2) == before


def test_a_pipeline_whose_answers_start_itself_is_stopped(stack: Stack, device: Device) -> None:
    echo = """
triggers:
  - topic: round/{n}
    inputs: {x: qos}
    reply_to: round/again
"""
    stack.add_pipeline("echo", "def heard(x: int) -> int:\n    return x\n", echo)
    stack.start()

    device.publish("round/first", {})

    wait_for(lambda: any(each["code"] == "loop" for each in device.rejections()), 60, "the end of the loop")
    stack.wait_records(17)
    assert [each["code"] for each in device.rejections()] == ["loop"]
    assert len(stack.records()) == 17


def test_a_cloud_event_on_a_run_topic_is_one_run_however_often_it_comes(stack: Stack, device: Device) -> None:
    stack.start()
    answers = Listener(device, "answers/boiler")
    data = {"inputs": {"x": 20}, "reply_to": "answers/boiler"}
    event = {"specversion": "1.0", "id": "1", "source": "/boiler/7", "type": "reading", "data": data}

    for _ in range(3):
        device.publish("pipelines/add/run", event)
    device.publish("pipelines/add/run", event | {"id": "2"})
    device.publish("pipelines/add/run", event | {"specversion": "0.3"})

    stack.wait_records(2)
    wait_for(device.rejections, 10, "the rejection")
    assert stack.executions() == [20, 20]
    assert device.rejections()[0]["field"] == "$.specversion"
    events = [each for each in answers.heard if each.get("specversion") == "1.0"]
    assert {(each["type"], each["source"]) for each in events} == {("fpbus.run_result", "/pipelines/add")}
    assert {each["data"]["run_id"] for each in events} == {each["id"] for each in events}
    assert {each["data"]["outputs"]["answer"]["json"] for each in events} == {41}


BATCHES = """
run:
  final_vars: [seen]
triggers:
  - topic: meters/{meter}
    key: captures.meter
    inputs: {n: payload.n}
    window: {kind: batch, size: 20, max_wait_s: 1, as: readings}
"""


def test_messages_in_windows_are_in_one_run_each_though_dispatchers_die(stack: Stack, device: Device) -> None:
    stack.add_pipeline("report", "def seen(readings: list) -> list:\n    return readings\n", BATCHES)
    stack.start()
    count, chance = 1000, random.Random(3)

    def publish() -> None:
        for number in range(count):
            device.publish(f"meters/{number % 4}", {"n": number}).wait_for_publish(30)

    publisher = threading.Thread(target=publish)
    publisher.start()
    for kill in range(3):
        least = chance.randint(kill * 8, kill * 8 + 8)
        wait_for(functools.partial(has_results, device, least), 60, f"{least} batches")
        stack.restart("dispatcher")
    publisher.join()

    wait_for(lambda: len(numbers(device)) >= count, 60, "all messages")
    stack.wait_records(len(device.result_counts()))
    assert sorted(numbers(device)) == list(range(count))
    (told,) = triggers_of(stack)
    assert (told.trigger, told.window) == ("0", "batch")
    runs = len(device.result_counts())
    wanted = {"taken": count, "ran": count, "runs": runs, "held": 0, "replaced": 0, "discarded": 0, "rejected": 0}
    assert {name: told.counts[name] for name in wanted} == wanted


def has_results(device: Device, least: int) -> bool:
    return len(device.result_counts()) > least


def numbers(device: Device) -> list[int]:
    """Return the numbers of all messages that are in a run, once for each run."""
    by_run = {each["run_id"]: each["outputs"]["seen"]["json"] for each in device.results()}
    return [reading["n"] for readings in by_run.values() for reading in readings]


def triggers_of(stack: Stack) -> list[TriggerInfo]:
    with Control.connect(Settings(mqtt_url=stack.environment["FPBUS_MQTT_URL"])) as control:
        return control.list_triggers()


def test_debounce_throttle_and_latest_run_what_they_say(stack: Stack, device: Device) -> None:
    for name, window in {
        "last": "{kind: debounce, quiet_s: 0.5}",
        "first": "{kind: throttle, every_s: 60}",
        "both": "{kind: latest, every_s: 1}",
    }.items():
        trigger = f"triggers:\n  - topic: doors/+\n    inputs: {{n: payload.n}}\n    window: {window}\n"
        stack.add_pipeline(name, "def seen(n: int) -> int:\n    return n\n", trigger)
    stack.start()

    for number in range(10):
        device.publish("doors/1", {"n": number})

    wait_for(lambda: len(device.result_counts()) >= 4, 30, "four runs")
    stack.wait_records(4)
    seen = {(each["pipeline"], each["outputs"]["seen"]["json"]) for each in device.results()}
    assert seen == {("both", 0), ("both", 9), ("first", 0), ("last", 9)}
    counts = {each.pipeline: each.counts for each in triggers_of(stack)}
    assert counts["first"]["discarded"] == 9
    assert counts["last"]["replaced"] == 9
    assert counts["both"]["replaced"] == 8
