"""A slow job among fast ones: does it hold them up?

Two workers; a run of ten seconds, and then a thousand of three small nodes, one each few milliseconds. How long each
took from its publish to its result is compared with the same thousand without the slow one. Then all at once with the
slow one among them, so that a worker has others at hand when it turns out slow: how long until the last fast one has
ended. With one worker all wait, and each has to have ended once. Prints one JSON row for each number of workers.

    python tests/bench/slow.py [--fast 1000] [--seconds 10]
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

sys.path[0] = str(Path(__file__).parents[1])  # `bench` and `support` are found where pytest finds them

import paho.mqtt.client as paho  # noqa: E402

from bench import mqtt  # noqa: E402
from bench.driver import PIPELINE, RUN_TOPIC, request, run_ids, warm_up  # noqa: E402
from bench.figures import Figures, percentile  # noqa: E402
from bench.place import fresh_place  # noqa: E402
from support.stack import Stack  # noqa: E402
from support.waiting import wait_for  # noqa: E402

GAP_S: Final = 0.005
WARM: Final = 20
RESULTS_WITHIN_S: Final = 120.0
SLOW: Final = "import time\n\n\ndef rested(seconds: float) -> float:\n    time.sleep(seconds)\n    return seconds\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time fast runs beside a slow one.")
    parser.add_argument("--fast", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    for workers in (2, 1):
        print(json.dumps({"workers": workers} | measure(workers, arguments.fast, arguments.seconds)))


def measure(workers: int, fast: int, seconds: float) -> Figures:
    """Return the longest and the p99 latency of the fast runs, in milliseconds, without and with the slow one."""
    with fresh_place() as place:
        stack = Stack(place.folder / "fpbus", place.broker.url, place.redis.url)
        stack.add_pipeline(PIPELINE, Path(__file__).with_name("three_nodes.py").read_text(encoding="utf-8"))
        stack.add_pipeline("slow", SLOW)
        try:
            stack.start("recorder", "dispatcher")
            runner = stack.process("runner", "--workers", str(workers))
            stack.processes["runner"] = runner.start().wait_ready()
            warm_up(place.broker.url, WARM)
            alone = _latencies_ms(place.broker.url, run_ids("alone", fast), 0, GAP_S)
            beside = _latencies_ms(place.broker.url, run_ids("beside", fast), seconds, GAP_S)
            stack.wait_records(WARM + 2 * fast + 1)
            burst_alone = _latencies_ms(place.broker.url, run_ids("burst_alone", fast), 0, 0)
            burst_beside = _latencies_ms(place.broker.url, run_ids("burst_beside", fast), seconds, 0)
            records = stack.wait_records(WARM + 4 * fast + 2)
            assert len(records) == WARM + 4 * fast + 2, "the history has not every run once"
        finally:
            stack.stop()
    return {
        "alone_p99_ms": percentile(alone, 99),
        "alone_most_ms": max(alone),
        "beside_p99_ms": percentile(beside, 99),
        "beside_most_ms": max(beside),
        "burst_alone_most_ms": max(burst_alone),
        "burst_beside_most_ms": max(burst_beside),
    }


def _latencies_ms(url: str, ids: list[str], slow_s: float, gap_s: float) -> list[float]:
    """Ask for the fast runs, and after the first tenth for the slow one, if it takes any time."""
    heard: dict[str, int] = {}

    def hear(message: paho.MQTTMessage) -> None:
        heard.setdefault(message.topic.split("/")[3], time.time_ns())

    client = mqtt.connect(url, (mqtt.RESULTS,), hear)
    slow = json.dumps({"run_id": f"slow-{ids[0]}", "inputs": {"seconds": slow_s}})
    published: dict[str, int] = {}
    for run_id in ids:
        if gap_s:
            time.sleep(gap_s)
        if slow_s and len(published) == len(ids) // 10:
            client.publish("pipelines/slow/run", slow, 1)
        published[run_id] = time.time_ns()
        client.publish(RUN_TOPIC, request(run_id), 1)
    wait_for(lambda: heard.keys() >= set(ids), RESULTS_WITHIN_S, "the results")
    mqtt.disconnect(client)
    return [(heard[run_id] - published[run_id]) / 1e6 for run_id in ids]


if __name__ == "__main__":
    main()
