"""A runner stands still for longer than its lease, and wakes up when another one has done its run."""

import signal
import time
from functools import partial

import psutil

from chaos.marks import Mark
from chaos.place import signal_tree
from chaos.scenario import Outcome, Place, Scenario, judge
from support.stack import Process

SECONDS = 2.0
PATIENCE_S = 60.0


def run(place: Place, freezes: int) -> Outcome:
    """Freeze whole process trees: the runner, its fork server and its work-horse."""
    place.stack.start("recorder", "dispatcher")
    runners = [place.process("runner", "--instance", name, name=name) for name in ("one", "two")]
    for runner in runners:
        runner.wait_ready()
    for x in range(freezes):
        place.ask(x, seconds=SECONDS)
        if place.wait(partial(place.marks.of, x), PATIENCE_S, f"the start of run {x}"):
            _freeze(place, x, runners)
    tally = place.tally(PATIENCE_S)
    ends = [end for ends in place.observer.ends().values() for end in ends]
    return judge(
        tally,
        {"freezes": freezes, "results heard": len(ends), "lease, s": 10},
        {
            "every run has one success": [state for state, _, _ in ends] == ["succeeded"] * freezes,
            "every run was frozen, and begun again by the other": tally.recovered * 2
            == tally.executions
            == 2 * freezes,
            "no service exited": place.unharmed(),
        },
    )


def _freeze(place: Place, x: int, runners: list[Process]) -> None:
    began = place.marks.of(x)[0]
    frozen = next(runner for runner in runners if _has(runner, began))
    frozen_at = time.time()
    signal_tree(frozen.pid, signal.SIGSTOP)
    recorded = place.wait(lambda: place.recorded() > x, PATIENCE_S, f"the record of run {x}")
    signal_tree(frozen.pid, signal.SIGCONT)
    if recorded:
        place.recoveries.append(place.marks.of(x)[1].at - frozen_at)
    place.wait(lambda: len(place.marks.of(x, "ended")) == 2 or not _lives(began), PATIENCE_S, "the late copy's end")
    place.tell(f"run {x} was frozen and recorded")


def _has(runner: Process, mark: Mark) -> bool:
    return mark.pid in {child.pid for child in psutil.Process(runner.pid).children(recursive=True)}


def _lives(mark: Mark) -> bool:
    return psutil.pid_exists(mark.pid)


SCENARIOS = (
    Scenario(
        name="freezes",
        promise="Ten runners frozen past their lease and woken: ten single recorded successes",
        run=run,
        full={"freezes": 10},
        short={"freezes": 1},
    ),
)
