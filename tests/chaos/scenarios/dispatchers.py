"""The active dispatcher is killed, its standby takes over, a new standby comes: again and again."""

from chaos.load import load, milestones
from chaos.scenario import Outcome, Place, Scenario, judge
from support.stack import Process


def run(place: Place, runs: int, kills: int) -> Outcome:
    place.stack.start("recorder", "runner")
    active, standby = _start(place, 0).wait_ready(), _start(place, 1).wait_ready()
    with load(place, runs):
        for number in milestones(place, runs, kills):
            with place.recovering(lambda: len(place.observer.accepted())):
                active.kill()
            active, standby = standby, _start(place, number + 2).wait_ready()
    tally = place.tally(120)
    return judge(
        tally,
        {"kills": kills},
        {"all succeeded": tally.states == {"succeeded": runs}, "no service exited by itself": place.unharmed()},
    )


def _start(place: Place, number: int) -> Process:
    return place.process("dispatcher", "--instance", f"d{number % 2}", name=f"d{number % 2}")


SCENARIOS = (
    Scenario(
        name="dispatchers",
        promise="20 kills of the active dispatcher, with a standby, over 10,000 runs: each recorded once",
        run=run,
        full={"runs": 10_000, "kills": 20},
        short={"runs": 400, "kills": 2},
    ),
)
