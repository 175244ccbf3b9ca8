"""A plain MQTT client, as devices and other people's programs have: paho, and none of our code."""

import json
import threading
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from support.waiting import wait_for


class Device:
    """Publishes runs and hears everything that is said under `pipelines/` and on `fpbus/rejected`."""

    def __init__(
        self, url: str, *, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311, name: str = ""
    ) -> None:
        self._lock = threading.Lock()
        self._heard: list[tuple[str, dict[str, Any]]] = []
        self._counts: Counter[str] = Counter()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
        self.client.max_inflight_messages_set(1000)
        self.client.max_queued_messages_set(0)
        self.client.on_message = self._on_message
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()  # pyright: ignore[reportUnknownLambdaType]
        address = urlsplit(url)
        assert address.hostname is not None
        self.client.connect(address.hostname, address.port or 1883)
        self.client.loop_start()
        self.client.subscribe(
            [("pipelines/+/runs/#", 1), ("pipelines/+/rejected", 1), ("fpbus/rejected", 1), ("fpbus/recorded", 1)]
        )
        assert subscribed.wait(10)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            body = json.loads(message.payload)
        except (ValueError, RecursionError):  # tests publish garbage too
            return
        with self._lock:
            self._heard.append((message.topic, body))
            if message.topic.endswith("/result"):
                self._counts[body["run_id"]] += 1

    def publish(
        self, topic: str, payload: bytes | dict[str, Any] | None = None, *, retain: bool = False, **properties: Any
    ) -> paho.MQTTMessageInfo:
        body = json.dumps(payload).encode() if isinstance(payload, dict) else payload
        packed = None
        if properties:
            packed = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no hints here
            for name, value in properties.items():
                setattr(packed, name, value)
        return self.client.publish(topic, body, 1, retain, packed)

    def run(self, pipeline: str, payload: dict[str, Any]) -> paho.MQTTMessageInfo:
        return self.publish(f"pipelines/{pipeline}/run", payload)

    def messages(self, *, ending: str) -> list[dict[str, Any]]:
        """Return what was heard on topics with this ending, decoded."""
        with self._lock:
            return [body for topic, body in self._heard if topic.endswith(ending)]

    def all(self) -> list[tuple[str, dict[str, Any]]]:
        """Return everything that was heard: topic and decoded payload."""
        with self._lock:
            return list(self._heard)

    def results(self) -> list[dict[str, Any]]:
        return self.messages(ending="/result")

    def result_counts(self) -> Counter[str]:
        """Return how often a result was heard, by run id."""
        with self._lock:
            return self._counts.copy()

    def rejections(self) -> list[dict[str, Any]]:
        return self.messages(ending="rejected")

    def wait_result(self, run_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
        found = wait_for(
            lambda: [result for result in self.results() if result["run_id"] == run_id],
            timeout_s,
            f"result of {run_id}",
        )
        return found[0]

    def wait_rejection(self, digest: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait for the rejection of one message, told by the digest of its payload."""
        found = wait_for(
            lambda: [one for one in self.rejections() if one["digest"] == digest], timeout_s, "the rejection"
        )
        return found[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
