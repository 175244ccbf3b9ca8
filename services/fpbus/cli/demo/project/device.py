#!/usr/bin/env python3
"""A weather station that speaks MQTT. It needs paho-mqtt and Python, and knows nothing of who listens.

    python device.py mqtt://127.0.0.1:1883 seattle-weather.csv 2013

It publishes a message for every ninth day of the year, waits until each is answered (a result, or a rejection),
and prints a report. The message in the middle has a mistake in it, as messages from real devices have.
"""

import csv
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

RUN = "pipelines/weather/run"
RESULTS = "pipelines/weather/runs/+/result"
REJECTED = "pipelines/weather/rejected"

MEASURED = ("temp_min", "temp_max", "precipitation", "wind")
PAUSE_S = 0.12
FIRST_PAUSE_S = 1.5  # so that a person can follow the first one
CONNECT_S = 5.0
PATIENCE_S = 15.0


def read_messages(path: str, year: str) -> list[dict[str, Any]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        days = [day for day in csv.DictReader(file) if day["date"].startswith(year)][::9]
    messages: list[dict[str, Any]] = [
        {"run_id": day["date"].replace("/", "-"), "inputs": {name: float(day[name]) for name in MEASURED}}
        for day in days
    ]
    wrong = messages[len(messages) // 2]
    wrong["input"] = wrong.pop("inputs")  # the field is called `inputs`
    return messages


class Station:
    """Publishes messages and hears the answers."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.published: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.rejections = 0
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="weather-station")
        self._client.on_connect = self._on_connect
        self._client.message_callback_add(RESULTS, self._on_result)
        self._client.message_callback_add(REJECTED, self._on_rejection)
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(address.hostname or "127.0.0.1", address.port or 1883)
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_S):
            sys.exit(f"No broker let us in at {url} within {CONNECT_S:g} s.")

    def publish(self, message: dict[str, Any]) -> None:
        self.published[message["run_id"]] = time.monotonic()
        self._client.publish(RUN, json.dumps(message), qos=1)

    def wait_for_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.answered) + self.rejections < len(self.published) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._client.disconnect()
        self._client.loop_stop()

    def report(self) -> dict[str, float]:
        times_ms = sorted(1000 * (at - self.published[run_id]) for run_id, at in self.answered.items()) or [0.0]
        return {
            "published": len(self.published),
            "results": len(self.answered),
            "rejections": self.rejections,
            "p50_ms": round(times_ms[len(times_ms) * 50 // 100], 1),
            "p95_ms": round(times_ms[len(times_ms) * 95 // 100], 1),
        }

    def _on_connect(self, *_: Any) -> None:
        self._client.subscribe([(RESULTS, 1), (REJECTED, 1)])

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_result(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        run_id = json.loads(message.payload)["run_id"]
        if run_id in self.published:
            self.answered.setdefault(run_id, time.monotonic())

    def _on_rejection(self, *_: Any) -> None:
        self.rejections += 1


def main(url: str, path: str, year: str) -> None:
    station = Station(url)
    pause_s = FIRST_PAUSE_S
    for message in read_messages(path, year):
        station.publish(message)
        time.sleep(pause_s)
        pause_s = PAUSE_S
    station.wait_for_answers()
    print(json.dumps(station.report()))


if __name__ == "__main__":
    main(*sys.argv[1:])
