"""A device that is killed: publishes numbered readings under some keys, and notes each one that `publish` took."""

import os
import sys
import time
from pathlib import Path

from fpbus.edge import Publisher

KEYS = ("a", "b", "c", "d", None)
PACE_S = 0.01


def main(url: str, outbox: str, journal: str, life: int) -> None:
    """Publish until killed. A line of the journal is written when `publish` has returned, never before."""
    notes = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Publisher(url, outbox=outbox) as publisher:
        number = 0
        while True:
            key = KEYS[number % len(KEYS)]
            run_id = publisher.publish("add", {"x": number}, key=key, run_id=f"{key}-{life}-{number}")
            os.write(notes, f"{run_id}\n".encode())
            number += 1
            time.sleep(PACE_S)  # a device measures at some pace


def drain(url: str, outbox: str, timeout_s: float) -> None:
    """Send what waits, and publish nothing new."""
    with Publisher(url, outbox=Path(outbox)) as publisher:
        publisher.flush(timeout_s)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
