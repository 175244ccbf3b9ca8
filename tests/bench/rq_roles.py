"""The processes of stock RQ behind MQTT: `python -m bench.rq_roles dispatcher|simple|forking`."""

import json
import os
import queue
import sys

import paho.mqtt.client as paho
from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq.worker import BaseWorker

from bench import mqtt
from bench.rq_task import SERIALIZER, run_pipeline


def dispatch() -> None:
    """Make a job of each message, and acknowledge it when Redis has the job."""
    jobs = Queue(connection=_redis(), serializer=SERIALIZER)
    inbox: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    client = mqtt.connect(os.environ["BENCH_MQTT_URL"], (mqtt.RUNS,), inbox.put, manual_ack=True)
    _say_ready()
    while True:
        message = inbox.get()
        request = json.loads(message.payload)
        jobs.enqueue(run_pipeline, message.topic.split("/")[1], request, job_id=request["run_id"])
        client.ack(message.mid, message.qos)


def work(kind: type[BaseWorker]) -> None:
    jobs = Queue(connection=_redis(), serializer=SERIALIZER)
    worker = kind([jobs], connection=_redis(), serializer=SERIALIZER)
    _say_ready()
    worker.work(logging_level="CRITICAL")


def _redis() -> Redis:
    return Redis.from_url(os.environ["BENCH_REDIS_URL"])


def _say_ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    role = sys.argv[1]
    if role == "dispatcher":
        dispatch()
    else:
        work(SimpleWorker if role == "simple" else Worker)
