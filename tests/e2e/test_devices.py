"""Devices that know nothing of fpbus start pipelines: real brokers, real services, a plain MQTT client."""

import functools
import json
import random
import threading
from typing import Any

import paho.mqtt.client as paho

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
    event = {"specversion": "1.0", "id": "1", "source": "/boiler/7", "type": "reading", "data": {"inputs": {"x": 20}}}

    for _ in range(3):
        device.publish("pipelines/add/run", event)
    device.publish("pipelines/add/run", event | {"id": "2"})
    device.publish("pipelines/add/run", event | {"specversion": "0.3"})

    stack.wait_records(2)
    wait_for(device.rejections, 10, "the rejection")
    assert stack.executions() == [20, 20]
    assert device.rejections()[0]["field"] == "$.specversion"
