"""A publisher with an outbox, and a Mosquitto as it is shipped, which keeps little and forgets it when it is killed."""

import time

from chaos.load import load, milestones
from chaos.place import run_id_of
from chaos.scenario import Outcome, Place, Scenario, judge
from fpbus.edge import Publisher

SETTLES_WITHIN_S = 60.0


def run_kills(place: Place, runs: int, kills: int) -> Outcome:
    place.stack.start()
    with Publisher(place.broker.url, outbox=place.folder / "outbox.db", device="chaos") as publisher:
        with load(place, runs, lambda x: _publish(place, publisher, x)):
            for _ in milestones(place, runs, kills):
                place.broker.kill()
                with place.recovering(lambda: len(place.observer.accepted())):
                    place.broker.start()
        last_at = time.monotonic()
        place.wait(lambda: place.recorded() >= runs and publisher.pending() == 0, 120, "the last records")
        settled_s = time.monotonic() - last_at
        waiting = publisher.pending()
    tally = place.tally()
    return judge(
        tally,
        {"kills": kills, "settled, s": round(settled_s, 1)},
        {
            "settled within 60 s": settled_s <= SETTLES_WITHIN_S,
            "nothing waits in the outbox": waiting == 0,
            "all succeeded": tally.states == {"succeeded": runs},
            "no service exited": place.unharmed(),
        },
    )


def run_away(place: Place, runs: int) -> Outcome:
    """Ask while no dispatcher is there. The broker keeps a thousand messages for it, and drops the rest."""
    place.stack.start()
    place.stack.kill("dispatcher")
    with Publisher(place.broker.url, outbox=place.folder / "outbox.db", device="chaos") as publisher:
        for x in range(runs):
            _publish(place, publisher, x)
        place.wait(lambda: publisher.trouble is None, 20, "the publisher's connection")
        waiting = publisher.pending()
        began = time.monotonic()
        place.stack.processes["dispatcher"].start().wait_ready()
        place.wait(lambda: place.recorded() >= runs and publisher.pending() == 0, 240, f"{runs} records")
        took_s = time.monotonic() - began
    tally = place.tally()
    return judge(
        tally,
        {"waiting before it came": waiting, "recorded after, s": round(took_s, 1)},
        {
            "nothing was taken for accepted before": waiting == runs,
            f"{runs:,} are recorded": tally.recorded == runs,
            "all succeeded": tally.states == {"succeeded": runs},
        },
    )


def _publish(place: Place, publisher: Publisher, x: int) -> None:
    """Publish through the outbox: from here on it must not be lost."""
    place.asked.add(x)
    publisher.publish("task", {"x": x}, run_id=run_id_of(x))
    place.promised.add(x)


SCENARIOS = (
    Scenario(
        name="away",
        promise="Dispatcher away for 5,000 submissions, Mosquitto's default queue of 1,000: 5,000 recorded",
        run=run_away,
        full={"runs": 5000},
        short={"runs": 1200},
        shipped_broker=True,
    ),
    Scenario(
        name="broker",
        promise="Broker killed 6 times during 3,000 submissions, Mosquitto's default persistence: settled within 60 s",
        run=run_kills,
        full={"runs": 3000, "kills": 6},
        short={"runs": 300, "kills": 1},
        shipped_broker=True,
    ),
)
