"""Named queues, and their lanes by priority.

A pipeline that names no queue has its runs in `high`, `default` or `low`. One that names `gpu` has them in `gpu.high`,
`gpu` or `gpu.low`: three lists in Redis, which every worker of that queue takes in this order.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import Meta

from .codes import Priority
from .errors import FpbusError

_NAME: Final = "[A-Za-z0-9_-]{1,64}"
_LANE: Final = re.compile(rf"^{_NAME}(\.high|\.low)?(?!\n)$")
_LETTERS: Final = "up to 64 of A-Z, a-z, 0-9, '-' and '_'"

#: How a pipeline names its queue.
QueueLabel = Annotated[str, Meta(pattern=rf"^{_NAME}(?!\n)$", description=_LETTERS)]

#: Which queues are served: a list, or names with commas. `read_lanes` checks it: msgspec 0.22 crashes when it forgets
#: a union of a list and a text with a pattern.
QueueNames = list[str] | str

#: The lanes of pipelines that name no queue, in the order in which they are served.
PRIORITY_LANES: Final = tuple(str(priority) for priority in Priority)


class QueueNameError(FpbusError, ValueError):
    """A name that no queue can have."""

    exit_code = 2


def lane_of(queue: str | None, priority: Priority) -> str:
    """Return where a run waits: its pipeline's queue, or none, and its own priority."""
    if queue is None or queue == Priority.DEFAULT:
        return str(priority)
    return queue if priority == Priority.DEFAULT else f"{queue}.{priority}"


def lanes_of(name: str) -> list[str]:
    """Return what a name stands for: `gpu` for all lanes of that queue; `gpu.high`, `high` and such for that one."""
    if name in PRIORITY_LANES or "." in name:
        return [name]
    return [f"{name}.high", name, f"{name}.low"]


def all_lanes(used: Iterable[str]) -> list[str]:
    """Return the lanes of all queues of which some lane was used: the nameless one first, then by name."""
    names = {lane.partition(".")[0] for lane in used} - set(PRIORITY_LANES)
    return [*PRIORITY_LANES, *[lane for name in sorted(names) for lane in lanes_of(name)]]


def read_lanes(names: QueueNames | None) -> list[str] | None:
    """Return the lanes of the queues that are to be served, None for all; raise `QueueNameError`."""
    if names is None:
        return None
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    for name in listed:
        if not _LANE.match(name):
            hint = f"A name has {_LETTERS}; several have a comma between them."
            raise QueueNameError(f"{name[:80]!r} cannot name a queue.", hint)
    return list(dict.fromkeys(lane for name in listed for lane in lanes_of(name)))
