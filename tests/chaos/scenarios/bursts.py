"""Far more at once than is worked off, from a publisher with an outbox."""

import contextlib
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from chaos.place import run_id_of
from chaos.scenario import Outcome, Place, Scenario, judge
from fpbus.edge import Publisher

TOGETHER = 1_000
ACCEPTED_WITHIN_S = 60.0
MOST_MB = 300.0
IN_THE_END_S = 600.0


class _Burst(NamedTuple):
    """When the last message was in the outbox, when the last was answered, and what became of others."""

    published_s: float
    accepted_s: float
    waiting: int
    refused: int


def run(place: Place, runs: int, within_s: float) -> Outcome:
    """Publish as fast as it goes, and wait until the outbox is empty: it keeps what nobody has accepted."""
    place.stack.start()
    place.asked.update(range(runs))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # else it would wait for the observer's interpreter
        outbox = place.folder / "outbox.db"
        burst = pool.submit(_burst, place.broker.url, outbox, runs, within_s + 60).result()
    place.promised.update(range(runs))
    peak_mb = _peak_mb(place.pids["dispatcher"])
    tally = place.tally(IN_THE_END_S)
    return judge(
        tally,
        {
            "published, s": round(burst.published_s, 1),
            "accepted, s": round(burst.accepted_s, 1),
            "dispatcher's peak, MB": round(peak_mb),
        },
        {
            "all were accepted": not burst.waiting and not burst.refused,
            f"all were accepted within {within_s:.0f} s": burst.accepted_s <= within_s,
            "all succeeded": tally.states == {"succeeded": runs},
            f"the dispatcher stayed below {MOST_MB:.0f} MB": peak_mb < MOST_MB,
            "no service exited": place.unharmed(),
        },
    )


def _burst(url: str, outbox: Path, runs: int, timeout_s: float) -> _Burst:
    with Publisher(url, outbox=outbox, device="chaos", max_messages=runs) as publisher:
        began = time.monotonic()
        for first in range(0, runs, TOGETHER):
            with publisher.together():
                for x in range(first, min(first + TOGETHER, runs)):
                    publisher.publish("task", {"x": x}, run_id=run_id_of(x))
        published_s = time.monotonic() - began
        with contextlib.suppress(TimeoutError):
            publisher.flush(timeout_s)
        accepted_s = time.monotonic() - began
        return _Burst(published_s, accepted_s, publisher.pending(), len(publisher.rejections()))


def _peak_mb(pid: int) -> float:
    """Return the most resident memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def _run_within(place: Place, runs: int) -> Outcome:
    return run(place, runs, ACCEPTED_WITHIN_S)


def _run_in_the_end(place: Place, runs: int) -> Outcome:
    return run(place, runs, IN_THE_END_S)


SCENARIOS = (
    Scenario(
        name="burst",
        promise="100,000 runs at once from an outbox: all accepted within 60 s, the dispatcher below 300 MB",
        run=_run_within,
        full={"runs": 100_000},
        short={"runs": 2_000},
    ),
    Scenario(
        name="burst-shipped",
        promise="The same with Mosquitto's default queue of 1,000: all accepted in the end",
        run=_run_in_the_end,
        full={"runs": 100_000},
        short={"runs": 2_000},
        shipped_broker=True,
    ),
)
