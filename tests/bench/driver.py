"""The one who asks for runs and counts results: the same plain MQTT client in front of every path."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import paho.mqtt.client as paho

from bench import mqtt
from bench.figures import Figures, percentile
from bench.wire import Wire

PIPELINE: Final = "three"
RUN_TOPIC: Final = f"pipelines/{PIPELINE}/run"
WINDOW: Final = 500
IDLE_GAP_S: Final = 0.02
RESULT_WITHIN_S: Final = 60.0


class Heard(NamedTuple):
    """A message, and when it came in nanoseconds since 1970: clocks of one machine can be compared."""

    at_ns: int
    topic: str
    payload: bytes

    @property
    def run_id(self) -> str:
        return self.topic.split("/")[3]


class Driver:
    """Hears results, and, one by one, what `more_filters` name."""

    def __init__(self, url: str, *more_filters: str) -> None:
        self._url = url
        self._filters = (mqtt.RESULTS, *more_filters)
        self.heard: list[Heard] = []
        self._results = threading.Semaphore(0)
        self._client: paho.Client | None = None

    def close(self) -> None:
        if self._client is not None:
            mqtt.disconnect(self._client)

    def load(self, run_ids: Sequence[str]) -> float:
        """Ask for all runs, at most `WINDOW` of them outstanding; return the seconds until the last result."""
        began = time.perf_counter()
        with Wire(self._url, "load") as wire:
            wire.subscribe(mqtt.RESULTS)
            asked = ended = 0
            while ended < len(run_ids):
                if room := min(WINDOW - (asked - ended), len(run_ids) - asked):
                    wire.publish(RUN_TOPIC, [request(run_id) for run_id in run_ids[asked : asked + room]])
                    asked += room
                messages = wire.read()
                now = time.time_ns()
                self.heard += [Heard(now, *message) for message in messages]
                ended += len(messages)
        return time.perf_counter() - began

    def one_by_one(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Ask for each run a moment after the one before had its result; return when, in nanoseconds since 1970."""
        published: dict[str, int] = {}
        self._client = mqtt.connect(self._url, self._filters, self._hear)
        for run_id in run_ids:
            time.sleep(IDLE_GAP_S)
            published[run_id] = time.time_ns()
            self._client.publish(RUN_TOPIC, request(run_id), 1)
            self._await_result()
        return published

    def results(self) -> dict[str, Heard]:
        return {heard.run_id: heard for heard in self.heard if heard.topic.endswith("/result")}

    def check(self, run_ids: Sequence[str]) -> None:
        """Fail unless each run has one result, and the right one."""
        counts = Counter(heard.run_id for heard in self.heard if heard.topic.endswith("/result"))
        assert counts == Counter(run_ids), "not every run has exactly one result"
        for run_id, result in self.results().items():
            assert json.loads(result.payload)["outputs"] == {"c": {"json": _number(run_id) * 2 + 1}}

    def _await_result(self) -> None:
        assert self._results.acquire(timeout=RESULT_WITHIN_S), f"no result within {RESULT_WITHIN_S} s"

    def _hear(self, message: paho.MQTTMessage) -> None:
        self.heard.append(Heard(time.time_ns(), message.topic, bytes(message.payload)))
        if message.topic.endswith("/result"):
            self._results.release()


def run_ids(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(count)]


def warm_up(url: str, count: int = 20) -> None:
    """Have everything loaded that is loaded once."""
    driver = Driver(url)
    driver.load(run_ids("warm", count))
    driver.close()


def latencies(driver: Driver, published: dict[str, int]) -> Figures:
    """Return the quantiles from publishing a request to hearing its result."""
    milliseconds = [(driver.results()[run_id].at_ns - at_ns) / 1e6 for run_id, at_ns in published.items()]
    return {"idle_p50_ms": percentile(milliseconds, 50), "idle_p99_ms": percentile(milliseconds, 99)}


def request(run_id: str) -> bytes:
    return json.dumps({"run_id": run_id, "inputs": {"x": _number(run_id)}}).encode()


def _number(run_id: str) -> int:
    return int(run_id.rpartition("-")[2])
