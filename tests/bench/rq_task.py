"""The tasks of stock RQ: the same pipeline with a kept driver and a kept MQTT connection, and one that does nothing."""

import json
import os
from functools import cache
from typing import Any

import msgspec
import paho.mqtt.client as paho
from hamilton import base, driver

from bench import mqtt, three_nodes

DAG: Any = driver.Builder().with_modules(three_nodes).with_adapters(base.DictResult()).build()
WORKER_PID = os.getpid()

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Msgpack:
    """RQ's serializer here: faster than its default, and never a pickle."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        return _encoder.encode(value)

    @staticmethod
    def loads(data: bytes) -> Any:
        return _decoder.decode(data)


SERIALIZER = "bench.rq_task.Msgpack"


def run_pipeline(pipeline: str, request: dict[str, Any]) -> int:
    """Run the pipeline and publish its result, as somebody would who puts RQ behind MQTT."""
    value: int = DAG.execute(["c"], inputs=request["inputs"])["c"]
    result = json.dumps({"run_id": request["run_id"], "outputs": {"c": {"json": value}}}).encode()
    sending = _client(os.getpid()).publish(f"pipelines/{pipeline}/runs/{request['run_id']}/result", result, 1)
    if os.getpid() != WORKER_PID:
        sending.wait_for_publish(10)  # a forked work-horse ends with its job
    return value


def noop(number: int) -> int:
    return number


@cache
def _client(_pid: int) -> paho.Client:
    """Return this process' connection: no fork inherits one."""
    return mqtt.connect(os.environ["BENCH_MQTT_URL"], (), lambda _message: None)
