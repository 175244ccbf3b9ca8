"""Every service is restarted in turn, politely, while runs come in."""

import signal

from chaos.load import load, milestones
from chaos.scenario import Outcome, Place, Scenario, judge

ROLES = ("dispatcher", "runner", "recorder")


def run(place: Place, runs: int, rounds: int) -> Outcome:
    place.stack.start()
    codes: list[int] = []
    turns = ROLES * rounds
    with load(place, runs):
        for number in milestones(place, runs, len(turns)):
            process = place.stack.processes[turns[number]]
            codes.append(process.kill(signal.SIGTERM))
            process.start().wait_ready()
    tally = place.tally()
    return judge(
        tally,
        {"restarts": len(codes)},
        {
            "all succeeded": tally.states == {"succeeded": runs},
            "none was executed twice": tally.executions == runs,
            "every service stopped with code 0": set(codes) == {0},
        },
    )


SCENARIOS = (
    Scenario(
        name="rolling",
        promise="Every service restarted in turn, 3 times, under load: no failed run, none executed twice",
        run=run,
        full={"runs": 3000, "rounds": 3},
        short={"runs": 300, "rounds": 1},
    ),
)
