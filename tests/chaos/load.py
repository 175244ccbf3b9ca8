"""A thread that asks for runs while a scenario breaks things, and the milestones that tell it when."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from chaos.place import Place

LEAST_AHEAD = 20


@contextmanager
def load(place: Place, runs: int, ask: Callable[[int], None] | None = None) -> Generator[None]:
    """Ask for runs 0 to `runs` while the block goes on, and return when all have been asked for.

    A twentieth of them may not be recorded yet, so that whatever the block does meets work.
    """
    given_up, ahead = threading.Event(), max(LEAST_AHEAD, runs // 20)

    def publish() -> None:
        for x in range(runs):
            while x % 10 == 0 and x - place.recorded() > ahead and not given_up.wait(0.02):
                pass
            (ask or place.ask)(x)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        given_up.set()
        thread.join()


def milestones(place: Place, runs: int, faults: int, patience_s: float = 120) -> Iterator[int]:
    """Yield the number of each fault when its time has come: a random share of what lies between it and the next."""
    step = runs / (faults + 1)
    for number in range(faults):
        due = int((number + place.chance.random()) * step) + 1
        place.wait_recorded(due, patience_s)
        place.tell(f"fault {number + 1} of {faults}, {place.recorded()} recorded")
        yield number
