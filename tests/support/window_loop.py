"""A dispatcher reduced to its windows: a process that takes messages from a list, which is its broker, until killed.

Run as `python -m support.window_loop REDIS_URL KIND TOKEN`. What it has not acknowledged is still in the list.
"""

import sys
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import redis as redis_py

from fpbus.dispatcher.queue import RunQueue, Submission
from fpbus.dispatcher.windows import Entry
from fpbus.schemas import RunRequest
from fpbus.schemas.queue import RunJob
from fpbus.schemas.windows import BatchWindow, DebounceWindow, LatestWindow, ThrottleWindow, WindowConfig

BROKER: Final = "test:broker"
KINDS: Final[dict[str, WindowConfig]] = {
    "batch": BatchWindow(size=7, max_wait_s=0.05),
    "debounce": DebounceWindow(quiet_s=0.005, max_wait_s=0.02),
    "throttle": ThrottleWindow(every_s=0.01),
    "latest": LatestWindow(every_s=0.01),
}
_BATCH: Final = 64


def window_entry(number: int, key: str, window: WindowConfig, **known: Any) -> Entry:
    """Make the entry of the message with this number."""
    job = RunJob(
        run_id="unused",
        pipeline="add",
        request=RunRequest(inputs={"n": number}, key=key),
        accepted_at=datetime.now(UTC),
        timeout_s=60,
        dedup_window_s=3600,
        lost_attempts=3,
    )
    digest = blake2b(str(number).encode(), digest_size=16).digest()
    return Entry(job=job, trigger="t", window=window, digest=digest, **known)


def settle(queue: RunQueue, now_ms: int | None = None) -> list[RunJob]:
    """Make the runs of closed windows, and forget them."""
    closed = queue.windows.due(now_ms)
    if closed:
        queue.submit([Submission(each.job, each.digest) for each in closed])
        queue.windows.done([each.job.run_id for each in closed])
    return [each.job for each in closed]


def _serve(url: str, kind: str, token: str) -> None:
    queue, broker = RunQueue(url, token), redis_py.Redis.from_url(url)
    queue.hold_lease(token)
    again = True
    while True:
        numbers: Any = broker.lrange(BROKER, 0, _BATCH - 1)
        entries = [
            window_entry(int(n), f"k{int(n) % 10}", KINDS[kind], delivery=str(int(n) % 1000), again=again)
            for n in numbers
        ]
        queue.windows.take(entries)
        again = False
        settle(queue)
        broker.ltrim(BROKER, len(numbers), -1)
        queue.hold_lease()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
