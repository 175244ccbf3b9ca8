"""What every run has to pay however it is built: bare Hamilton, a bare MQTT hop, a bare Redis and pipe round trip."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from redis import Redis

from bench import mqtt
from bench.driver import IDLE_GAP_S
from bench.figures import Figures, percentile
from bench.place import Place
from bench.rq_task import DAG

#: The way of one run through fpbus, in bare hops. Request and result go over MQTT; Redis is asked to submit, to
#: wake the runner, to claim and to finish; the work-horse is behind a pipe.
FLOOR: Final = {"MQTT hop": 2, "Redis round trip": 4, "pipe round trip": 1, "Hamilton": 1}


def measure(place: Place, runs: int, idle: int) -> Figures:
    figures = {"per_s": _hamilton_per_s(runs)}
    for name, took in (
        ("Hamilton", _idle_us(lambda: DAG.execute(["c"], inputs={"x": 1}), idle)),
        ("MQTT hop", _mqtt_hop_us(place.broker.url, idle)),
        ("Redis round trip", _redis_round_trip_us(place.redis.url, idle)),
        ("pipe round trip", _pipe_round_trip_us(idle)),
    ):
        figures |= {f"p50_us {name}": percentile(took, 50), f"p99_us {name}": percentile(took, 99)}
    return figures | {"floor_us": sum(figures[f"p50_us {name}"] * times for name, times in FLOOR.items())}


def _hamilton_per_s(runs: int) -> float:
    began = time.perf_counter()
    for number in range(runs):
        DAG.execute(["c"], inputs={"x": number})
    return runs / (time.perf_counter() - began)


def _mqtt_hop_us(url: str, count: int) -> list[float]:
    heard = threading.Semaphore(0)
    ear = mqtt.connect(url, ("hop",), lambda _message: heard.release())
    mouth = mqtt.connect(url, (), lambda _message: None)

    def hop() -> None:
        mouth.publish("hop", b"x" * 100, 1)
        assert heard.acquire(timeout=10)

    took = _idle_us(hop, count)
    mqtt.disconnect(mouth)
    mqtt.disconnect(ear)
    return took


def _redis_round_trip_us(url: str, count: int) -> list[float]:
    with Redis.from_url(url) as redis:
        return _idle_us(lambda: redis.set("key", b"x" * 100), count)


def _pipe_round_trip_us(count: int) -> list[float]:
    ours, theirs = multiprocessing.Pipe()
    echo = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,))
    echo.start()

    def round_trip() -> None:
        ours.send_bytes(b"x" * 100)
        ours.recv_bytes()

    round_trip()
    took = _idle_us(round_trip, count)
    ours.send_bytes(b"")
    echo.join(10)
    return took


def _echo(pipe: Connection) -> None:
    while said := pipe.recv_bytes():
        pipe.send_bytes(said)


def _idle_us(act: Callable[[], Any], count: int) -> list[float]:
    """Time single acts with a pause before each, as an idle system meets them."""
    took: list[float] = []
    for _ in range(count):
        time.sleep(IDLE_GAP_S)
        began = time.perf_counter()
        act()
        took.append((time.perf_counter() - began) * 1e6)
    return took
