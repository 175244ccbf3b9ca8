"""FlowerPower behind MQTT: `python -m bench.peers.flowerpower_roles listener|worker FOLDER`.

It has an environment of its own.
Its own MQTT part needs Python 3.12 and publishes no results: the listener here is a plain one, which adds a job for
each message as FlowerPower's does, and the pipeline has one more node, which publishes.
"""

import json
import os
import queue
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from bench import mqtt

PIPELINE: Final = "three"
_NODES: Final = Path(__file__).parents[1] / "three_nodes.py"
_TELLING: Final = """

def told(c: int, run_id: str) -> int:
    from bench.peers import flowerpower_roles

    flowerpower_roles.publish(run_id, c)
    return c
"""


def lay_out(folder: Path, redis_url: str) -> None:
    """Write the project."""
    (folder / "conf" / "pipelines").mkdir(parents=True, exist_ok=True)
    (folder / "pipelines").mkdir(exist_ok=True)
    backend = {"type": "redis", "host": "127.0.0.1", "port": urlsplit(redis_url).port, "queues": ["default"]}
    project = {"name": "bench", "job_queue": {"type": "rq", "backend": backend}}
    (folder / "conf" / "project.yml").write_text(json.dumps(project), encoding="utf-8")
    settings = {"run": {"final_vars": ["told"], "executor": {"type": "local"}}}
    (folder / "conf" / "pipelines" / f"{PIPELINE}.yml").write_text(json.dumps(settings), encoding="utf-8")
    source = _NODES.read_text(encoding="utf-8") + _TELLING
    (folder / "pipelines" / f"{PIPELINE}.py").write_text(source, encoding="utf-8")


def publish(run_id: str, value: int) -> None:
    """Tell the result. A job has a process of its own, so each connects."""
    result = json.dumps({"run_id": run_id, "outputs": {"c": {"json": value}}}).encode()
    client = mqtt.connect(os.environ["BENCH_MQTT_URL"], (), lambda _message: None)
    client.publish(f"pipelines/{PIPELINE}/runs/{run_id}/result", result, 1).wait_for_publish(10)
    mqtt.disconnect(client)


def listen(folder: Path) -> None:
    manager: Any = import_module("flowerpower.pipeline").PipelineManager(
        base_dir=str(folder), job_queue_type="rq", log_level="ERROR"
    )
    inbox: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    mqtt.connect(os.environ["BENCH_MQTT_URL"], (mqtt.RUNS,), inbox.put)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdout = sys.stderr  # it prints a line for each job
    while True:
        request = json.loads(inbox.get().payload)
        manager.add_job(PIPELINE, inputs={**request["inputs"], "run_id": request["run_id"]}, result_ttl=600)


def work(folder: Path) -> None:
    manager: Any = import_module("flowerpower.job_queue").JobQueueManager(
        type="rq", name="bench", base_dir=str(folder), log_level="ERROR"
    )
    print("ready", flush=True)
    sys.stdout = sys.stderr
    manager.start_worker(logging_level="ERROR")


if __name__ == "__main__":
    lay_out(Path(sys.argv[2]), os.environ["BENCH_REDIS_URL"])
    {"listener": listen, "worker": work}[sys.argv[1]](Path(sys.argv[2]))
