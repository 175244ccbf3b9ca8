"""The network between the services and their servers fails in all the ways that the proxy knows."""

import time
from collections.abc import Sequence

from chaos.load import load, milestones
from chaos.proxy import Mode, Proxy
from chaos.scenario import Outcome, Place, Scenario, judge

FAULTS = (Mode.CUT, Mode.HOLE, Mode.UP_ONLY, Mode.DOWN_ONLY)
FOR_S = (0.5, 4.0)


def run(place: Place, runs: int, faults: int) -> Outcome:
    """Hurt the way to the broker or to Redis, of all services at once; asking and observing go on beside it."""
    broker, redis = Proxy(place.broker.port), Proxy(place.redis.port)
    place.stack.environment |= {
        "FPBUS_MQTT_URL": place.broker.url.replace(str(place.broker.port), str(broker.port)),
        "FPBUS_REDIS_URL": place.redis.url.replace(str(place.redis.port), str(redis.port)),
    }
    place.stack.start()
    pids = place.pids
    modes = [FAULTS[number % len(FAULTS)] for number in range(faults)]
    place.chance.shuffle(modes)
    with load(place, runs):
        for number in milestones(place, runs, faults):
            _hurt(place, modes[number], (broker, redis))
    tally = place.tally()
    place.stack.stop()
    broker.close()
    redis.close()
    return judge(
        tally,
        {"faults": faults},
        {
            "all succeeded": tally.states == {"succeeded": runs},
            "no service exited": place.pids == pids,
        },
    )


def _hurt(place: Place, mode: Mode, proxies: Sequence[Proxy]) -> None:
    proxy = place.chance.choice(proxies)
    seconds = place.chance.uniform(*FOR_S)
    place.tell(f"{'broker' if proxy is proxies[0] else 'Redis'}: {mode.value} for {seconds:.1f} s")
    proxy.set(mode)
    time.sleep(seconds)  # how long it lasts
    with place.recovering(place.recorded):
        proxy.set(Mode.PASS)


SCENARIOS = (
    Scenario(
        name="network",
        promise="20 times cut off from broker or Redis, deaf, dumb or both, for up to 4 s: lost 0, no service exits",
        run=run,
        full={"runs": 3000, "faults": 20},
        short={"runs": 200, "faults": 2},
    ),
)
