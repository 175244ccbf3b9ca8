"""A device's publisher and its broker are killed at random; `tests/chaos/edge.py` does the same at length."""

from pathlib import Path

from support.edge_chaos import Chaos
from support.servers import Broker, Redis
from support.stack import Stack


def test_what_publish_took_is_accepted_once_and_in_order_through_kills(
    tmp_path: Path, stack: Stack, mosquitto: Broker, redis_server: Redis
) -> None:
    stack.start("dispatcher")
    chaos = Chaos(tmp_path, mosquitto, redis_server.url, seed=7)

    try:
        figures = chaos.run(20)
    finally:
        chaos.close()

    assert figures.promises_kept, figures
    assert figures.publisher_kills > 3
    assert figures.broker_kills > 3
