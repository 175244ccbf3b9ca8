"""An MQTT client of nobody's, that writes down what is said of runs. It has none of our code."""

import json
import threading
from collections import Counter
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

HEARS: Final = [(f"pipelines/+/{what}", 1) for what in ("runs/+/status", "runs/+/result", "rejected")] + [
    ("fpbus/rejected", 1)
]

#: What makes two results of one run the same.
End = tuple[str, int, str]


class Observer:
    """Hears acceptances, results and rejections, also after its broker was killed: it comes back by itself."""

    def __init__(self, port: int, name: str = "observer") -> None:
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._accepted: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, set[End]] = {}
        self._rejections: list[dict[str, Any]] = []
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()  # pyright: ignore[reportUnknownLambdaType]
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(HEARS)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            body = json.loads(message.payload)
        except (ValueError, RecursionError):  # somebody publishes garbage there
            return
        if isinstance(body, dict):
            with self._lock:
                self._note(message.topic.rpartition("/")[2], body)

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "rejected":
            self._rejections.append(body)
        elif kind == "result":
            end = (body["state"], body["attempt"], body["finished_at"])
            self._ends.setdefault(body["run_id"], set()).add(end)
        elif body.get("state") == "accepted":
            self._accepted.setdefault(body["run_id"], body)

    def accepted(self) -> dict[str, dict[str, Any]]:
        """Return the first acceptance of each run."""
        with self._lock:
            return dict(self._accepted)

    def ends(self) -> dict[str, set[End]]:
        """Return the results of each run: state, attempt and time. One that was repeated counts once."""
        with self._lock:
            return {run_id: set(ends) for run_id, ends in self._ends.items()}

    def ended(self) -> int:
        """Return how many runs have a result."""
        return len(self._ends)

    def rejections(self) -> Counter[str]:
        """Return how often each code was given."""
        with self._lock:
            return Counter(body["code"] for body in self._rejections)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
