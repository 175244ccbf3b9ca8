"""Runners are killed with all they have started, in the middle of runs that take a while."""

import time

import psutil

from chaos.load import milestones
from chaos.scenario import Outcome, Place, Scenario, judge
from support.stack import Process

SECONDS = 2.0
RUNNERS = 4
WORKERS = 2
RECOVERS_WITHIN_S = 30.0


def run(place: Place, runs: int, kills: int) -> Outcome:
    place.stack.configure(f"runner: {{workers: {WORKERS}}}\nlimits: {{lost_attempts: 10}}\n")  # some are hit thrice
    place.stack.start("recorder", "dispatcher")
    runners = [_start(place, number) for number in range(RUNNERS)]
    for runner in runners:
        runner.wait_ready()
    place.ask_all(range(runs), seconds=SECONDS)
    killed: list[tuple[float, set[int]]] = []
    away: Process | None = None
    for _ in milestones(place, runs, kills):
        if away:
            away.start()
        # Somebody has to be there who can go on: else it would measure how long a runner takes to start.
        place.wait(lambda: sum(map(_works, runners)) > RUNNERS - 2, 120, "runners that work")
        hit = place.chance.choice([runner for runner in runners if _works(runner)])
        killed.append(_kill(hit))
        away = hit if place.chance.random() < 0.5 else None  # else its successor gives back what it had
        if not away:
            hit.start()
    if away:
        away.start()
    place.wait_recorded(runs, 180)
    place.recoveries += _recoveries(place, killed)
    tally = place.tally()
    return judge(
        tally,
        {"kills": kills, "attempts lost in the middle": len(place.recoveries), "lease, s": 10},
        {
            "all succeeded": tally.states == {"succeeded": runs},
            "recovery p95 at most 30 s": (tally.recovery_p95_s or 0) <= RECOVERS_WITHIN_S,
            "a kill hit a run": bool(place.recoveries),
        },
    )


def _start(place: Place, number: int) -> Process:
    return place.process("runner", "--instance", f"r{number}", name=f"r{number}")


def _works(runner: Process) -> bool:
    """Tell whether it has said that it is ready, and has not been killed since."""
    return runner.popen is not None and runner.popen.poll() is None and f"pid={runner.pid}\n" in runner.log.read_text()


def _kill(runner: Process) -> tuple[float, set[int]]:
    """Kill a runner, and nobody else: its work-horses have to notice by themselves."""
    pids = {child.pid for child in psutil.Process(runner.pid).children(recursive=True)}
    runner.kill()
    return time.time(), pids


def _recoveries(place: Place, killed: list[tuple[float, set[int]]]) -> list[float]:
    """Return how long each run that was hit had to wait until it began again."""
    begun = [mark for mark in place.marks.all() if mark.what == "begun"]
    ended = {(mark.x, mark.pid) for mark in place.marks.all() if mark.what == "ended"}
    found: list[float] = []
    for at, pids in killed:
        hit = [mark.x for mark in begun if mark.pid in pids and (mark.x, mark.pid) not in ended]
        again = [[mark.at - at for mark in begun if mark.x == x and mark.at > at] for x in hit]
        found += [min(times) for times in again if times]
    return found


SCENARIOS = (
    Scenario(
        name="runners",
        promise="30 kills of runners over 300 runs of 2 s: recovery p95 at most 30 s",
        run=run,
        full={"runs": 300, "kills": 30},
        short={"runs": 16, "kills": 1},
    ),
)
