"""Running again what a pipeline was asked for: what the history hands out, and what the dispatcher makes of it."""

from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from .codes import Priority
from .names import PipelineName, RunId
from .requests import RunRequest

#: Runs in one question to the dispatcher, and in one answer of the recorder.
MOST_REPLAYS: Final = 100

_PREFIX_CHARS: Final = 40

#: A name for one more replay of the same runs; the first has none.
ReplayName = Annotated[str, Meta(max_length=64)]


class Place(Struct, frozen=True, kw_only=True):
    """Where a run stands among all, in the order in which they were accepted."""

    at: datetime
    run_id: RunId


class ListOriginals(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`recorder/list_originals`: runs of a pipeline that can be replayed, the oldest first.

    Those are the runs that have ended and repeat no other. `behind` is where the page before ended.
    """

    pipeline: PipelineName
    since: datetime
    until: datetime
    key: str | None = None
    name: ReplayName = ""
    behind: Place | None = None


class Original(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run, what it was asked for, and whether the history has its replay of that name."""

    run_id: RunId
    at: datetime
    request: RunRequest
    replayed: bool = False


class Originals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `list_originals`: a page, and where the next one begins, if there is one."""

    runs: list[Original]
    behind: Place | None = None


class Replay(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`dispatcher/replay`: run these again as new runs. To ask again makes none twice."""

    pipeline: PipelineName
    runs: Annotated[list[Original], Meta(max_length=MOST_REPLAYS)]
    name: ReplayName = ""
    priority: Priority = Priority.LOW


class Replayed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one original: its replay was created, or was there, or was rejected for a reason."""

    original: str
    run_id: str
    outcome: Literal["created", "there", "rejected"]
    reason: str | None = None


class ReplayStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `replay`: what became of each, in order."""

    runs: list[Replayed]


def replay_id(run_id: str, name: str = "") -> str:
    """Return the id of a run's replay, like `reading-1-replay-0f9d6cb1a2e34c58`: the same, however often asked."""
    digest = blake2b(f"{run_id}\0{name}".encode(), digest_size=8).hexdigest()
    return f"{run_id[:_PREFIX_CHARS]}-replay-{digest}"
