"""`python tests/chaos/edge.py [KILLS] [SEED]`: kill a device's publisher and its broker, and print what came of it."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import servers
from support.edge_chaos import Chaos
from support.stack import Stack


def main(kills: int, seed: int) -> bool:
    with TemporaryDirectory() as folder:
        broker = servers.mosquitto(Path(folder, "mosquitto")).start()
        redis = servers.redis_server(Path(folder, "redis")).start()
        stack = Stack(Path(folder, "stack"), broker.url, redis.url).start("dispatcher")
        chaos = Chaos(Path(folder), broker, redis.url, seed)
        try:
            figures = chaos.run(kills)
        finally:
            chaos.close()
            stack.stop()
            broker.stop()
            redis.stop()
    print(msgspec.json.format(msgspec.json.encode({"seed": seed} | msgspec.to_builtins(figures))).decode())
    return figures.promises_kept


if __name__ == "__main__":
    sys.exit(not main(*(int(given) for given in (sys.argv[1:] + ["300", "7"][len(sys.argv) - 1 :]))))
