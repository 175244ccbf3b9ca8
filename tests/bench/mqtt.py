"""A plain paho client, as the driver and the peers use it: QoS 1, TCP_NODELAY, a network thread of its own."""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

RUNS = "pipelines/+/run"
STATUSES = "pipelines/+/runs/+/status"
RESULTS = "pipelines/+/runs/+/result"
RECORDED = "fpbus/recorded"


def connect(
    url: str, filters: Sequence[str], hear: Callable[[paho.MQTTMessage], None], *, manual_ack: bool = False
) -> paho.Client:
    """Return a client that is connected and subscribed; `hear` is called on its network thread."""
    client = paho.Client(CallbackAPIVersion.VERSION2, manual_ack=manual_ack)
    client.max_inflight_messages_set(1000)
    client.max_queued_messages_set(0)
    client.on_socket_open = _set_nodelay
    client.on_message = lambda _client, _data, message: hear(message)
    connected, subscribed = threading.Event(), threading.Event()
    client.on_connect = lambda *_: connected.set()  # pyright: ignore[reportUnknownLambdaType]
    client.on_subscribe = lambda *_: subscribed.set()  # pyright: ignore[reportUnknownLambdaType]
    address = urlsplit(url)
    client.connect(address.hostname or "127.0.0.1", address.port or 1883)
    client.loop_start()
    assert connected.wait(10), f"no connection to {url}"
    if filters:
        client.subscribe([(name, 1) for name in filters])
        assert subscribed.wait(10), f"{url} did not answer the subscription"
    return client


def disconnect(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()


def _set_nodelay(_client: paho.Client, _data: Any, sock: Any) -> None:
    """Without it a client that receives, acknowledges and publishes waits 43 ms each time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
