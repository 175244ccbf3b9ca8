"""Messages at and around the limits of size and nesting, up to what MQTT itself allows."""

import json
import time
from pathlib import Path

from chaos.place import run_id_of
from chaos.scenario import Outcome, Place, Scenario, judge
from chaos.scenarios.hostile_payloads import MOST_GROWTH_MB, grown
from support.device import Device

RUN = "pipelines/task/run"
LIMIT = 1024 * 1024
MOST_MQTT = 268_435_455
NESTING = 64
ROUND_THE_LIMIT = (-2, -1, 0, 1, 2)
DEEP = (1, 2, 10, 1000, 10_000, 100_000)


def run(place: Place, most_mb: int) -> Outcome:
    place.stack.start()
    place.ask_all(range(1000, 1100))
    place.wait_recorded(100, 60)
    before, took = place.memory_mb(), {}
    expected = 100
    for x, (size, fits) in enumerate(_sizes(most_mb)):
        began = time.monotonic()
        _send(place, _of_size(x, size) if fits else _padded(size))
        if fits:
            place.asked.add(x)
            expected += 1
        place.ask(2000 + x)
        expected += 1
        place.wait_recorded(expected, 60)
        took[size] = time.monotonic() - began
        place.tell(f"{size:,} bytes: {took[size]:.1f} s until the next one was recorded, {place.memory_mb()} MB")
    for number, levels in enumerate((NESTING - 3, *[NESTING + more for more in DEEP])):
        _send(place, _of_depth(500 + number, levels))
        if levels < NESTING:
            place.asked.add(500 + number)
        place.ask(3000 + number)
    tally = place.tally()
    growth = grown(before, place.memory_mb())
    return judge(
        tally,
        {
            "largest, MB": most_mb,
            "memory growth, MB": max(growth.values()),
            "peak, MB": _peak_mb(place),
            "longest delay, s": round(max(took.values()), 1),
        },
        {
            "every good one ran": tally.states == {"succeeded": len(place.asked)},
            "no service exited": place.unharmed(),
            f"memory grew by at most {MOST_GROWTH_MB:g} MB": max(growth.values()) <= MOST_GROWTH_MB,
        },
    )


def _peak_mb(place: Place) -> float:
    """Return the most that the dispatcher has held."""
    status = Path(f"/proc/{place.pids['dispatcher']}/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1000)


def _sizes(most_mb: int) -> list[tuple[int, bool]]:
    near = [(LIMIT + more, more <= 0) for more in ROUND_THE_LIMIT]
    far = [(mb * 1024 * 1024, False) for mb in (2, 16, 64, 128, 255) if mb <= most_mb]
    most = [(MOST_MQTT - len(RUN) - 4, False)] if most_mb >= 256 else []
    return near + far + most


def _send(place: Place, payload: bytes) -> None:
    """Send it on a connection of its own: who sends too much may lose it."""
    device = Device(place.broker.url)
    try:
        sent = device.publish(RUN, payload)
        place.wait(lambda: sent.is_published() or not device.client.is_connected(), 60, "the sending")
    finally:
        device.close()


def _of_size(x: int, size: int) -> bytes:
    """Return a request of exactly so many bytes."""
    body = {"run_id": run_id_of(x), "inputs": {"x": x, "text": ""}}
    return json.dumps(body | {"inputs": {"x": x, "text": "a" * (size - len(json.dumps(body)))}}).encode()


def _padded(size: int) -> bytes:
    return b'{"inputs": {"x": 1}, "key": "' + b"a" * (size - 31) + b'"}'


def _of_depth(x: int, levels: int) -> bytes:
    return f'{{"run_id":"{run_id_of(x)}","inputs":{{"x":{x},"deep":{"[" * levels}{"]" * levels}}}}}'.encode()


SCENARIOS = (
    Scenario(
        name="sizes",
        promise="Sizes at and around the limit up to 256 MB, nesting to 100,000: at most 50 MB more afterwards",
        run=run,
        full={"most_mb": 256},
        short={"most_mb": 2},
    ),
)
