"""Redis is stopped, killed and full while runs come in."""

import signal
import time

from chaos.load import load, milestones
from chaos.scenario import Outcome, Place, Scenario, judge

AWAY_S = (0.0, 2.0)


def run(place: Place, runs: int, times: int) -> Outcome:
    """Stop it, kill it, and once let it be full; each time for a random while."""
    place.stack.start()
    pids = place.pids
    faults = [signal.SIGTERM] * times + [signal.SIGKILL] * times + [None]
    place.chance.shuffle(faults)
    with load(place, runs):
        for number in milestones(place, runs, len(faults)):
            hurt = faults[number]
            if hurt is None:
                _fill(place)
            else:
                _end(place, hurt)
    tally = place.tally()
    return judge(
        tally,
        {"stopped": times, "killed": times, "full": 1},
        {
            "all succeeded": tally.states == {"succeeded": runs},
            "no service exited": place.unharmed() and place.pids == pids,
        },
    )


def _end(place: Place, number: int) -> None:
    place.tell(f"Redis gets signal {number} after {place.recorded()} records")
    place.redis.kill(number)
    time.sleep(place.chance.uniform(*AWAY_S))  # how long it is away
    with place.recovering(place.observer.ended):
        place.redis.start()


def _fill(place: Place) -> None:
    """No run is accepted while it is full; what was accepted ends."""
    place.tell(f"Redis is full after {place.recorded()} records")
    place.raw.config_set("maxmemory", 1)
    place.wait(lambda: place.raw.zcard("fpbus:open") == 0, 60, "the end of what was accepted")
    with place.recovering(place.observer.ended):
        place.raw.config_set("maxmemory", 0)


SCENARIOS = (
    Scenario(
        name="redis",
        promise="Redis stopped 5 times, killed 5 times and full once during 3,000 runs: lost 0, no service exits",
        run=run,
        full={"runs": 3000, "times": 5},
        short={"runs": 400, "times": 1},
    ),
)
