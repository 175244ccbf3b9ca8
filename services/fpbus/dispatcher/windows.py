"""Windows: messages that wait in Redis until they become one run, or are discarded and counted.

`take` puts messages into their windows. `due` closes those whose time has come and tells of all that are closed; when
their runs are in the queue, `done` forgets them. A window has its run's id from its first message on, so whoever dies
in between makes the same run again, which the ledger knows. Redis' clock decides. A window keeps the time at which it
is due, and what it holds, when its trigger is changed or taken away; one of another kind closes it with the next
message of its key.

    fpbus:window:open:<place>           hash    an open window, or one that rests after a run
    fpbus:window:inputs:<place>         list    what a batch holds
    fpbus:window:run:<run>              hash    a closed window
    fpbus:window:run_inputs:<run>       list    what its batch holds
    fpbus:window:number:<of>:<number>   string  the run of a message that has a number of its own
    fpbus:windows:due                   zset    open windows, by when they are due (ms)
    fpbus:windows:closed                zset    runs that are to be made, in the order in which their windows began
    fpbus:triggers:counts                hash    what became of messages, by `<of>:<what>`
    fpbus:windows:deliveries, :order    hash, list   packet ids of the session's last messages without a number
    fpbus:windows:seq                   string  how many windows there were

A place is `<pipeline>:<trigger>:<key>`; `of` is the first two of it.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from fpbus.schemas.queue import RunJob
from fpbus.schemas.windows import BatchWindow, DebounceWindow, WindowConfig

REMEMBERED: Final = 4096  # twice the receive window
MOST: Final = 256
MOST_BYTES: Final = 4 * 1024 * 1024
_PREFIX_CHARS: Final = 31

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
_unpack_job: Final = msgspec.msgpack.Decoder(RunJob).decode

#: Lua: the names of keys.
KEYS: Final = """
local OPEN, INPUTS = 'fpbus:window:open:', 'fpbus:window:inputs:'
local RUN, RUN_INPUTS = 'fpbus:window:run:', 'fpbus:window:run_inputs:'
local DUE, CLOSED = 'fpbus:windows:due', 'fpbus:windows:closed'
"""

#: Lua: `close(place, now)` makes of a window a run that is to be made; one that only rested is gone.
CLOSE: Final = """
local counts = {}

local function count(of, what, by)
  local name = of .. ':' .. what
  counts[name] = (counts[name] or 0) + by
end

local function write_counts()
  for name, by in pairs(counts) do redis.call('HINCRBY', 'fpbus:triggers:counts', name, by) end
end

local function now_ms(given)
  if given ~= '' then return tonumber(given) end
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function next_in(now)
  if redis.call('EXISTS', CLOSED) == 1 then return 0 end
  local first = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return first[2] and math.max(0, first[2] - now) or -1
end

local function close(place, now)
  local open = OPEN .. place
  local run, seq, of, held, kind, span = unpack(redis.call('HMGET', open, 'run', 'seq', 'of', 'count', 'kind', 'span'))
  redis.call('ZREM', DUE, place)
  if not run then return redis.call('DEL', open) end
  redis.call('RENAME', open, RUN .. run)
  if redis.call('EXISTS', INPUTS .. place) == 1 then redis.call('RENAME', INPUTS .. place, RUN_INPUTS .. run) end
  redis.call('ZADD', CLOSED, seq, run)
  count(of, 'runs', 1)
  count(of, 'ran', tonumber(held))
  if kind == 'throttle' or kind == 'latest' then
    redis.call('HSET', open, 'kind', kind)
    redis.call('ZADD', DUE, now + span, place)
  end
end
"""


class Entry(NamedTuple):
    """One message for a window; its key is its request's.

    `number` is an id that the device gave it, which counts for the job's dedup window. Without one `delivery` names its
    packet, and `digest` its content, by which a redelivery (`again`) is known.
    """

    job: RunJob
    trigger: str
    window: WindowConfig
    digest: bytes = b""
    delivery: str | None = None
    again: bool = False
    number: str | None = None


class Taken(NamedTuple):
    """What a message became: `held`, `run`, `discarded` or `repeated`; and the run it is in, if any."""

    kind: str
    run_id: str | None


class Closed(NamedTuple):
    """A window whose run is to be made."""

    trigger: str
    job: RunJob

    @property
    def digest(self) -> bytes:
        """What the ledger compares: the same for the same window."""
        return blake2b(self.job.run_id.encode(), digest_size=16).digest()


class Windows:
    """All windows of a project. `script` makes a script of a file, `run` runs one under the lease.

    All methods raise `FencedError` and `redis.RedisError` as those of `RunQueue` do. `now_ms` is for tests.
    """

    def __init__(
        self, redis: Any, script: Callable[[str, str], Any], run: Callable[..., Any], batch_bytes: int = 1024 * 1024
    ) -> None:
        self._redis = redis
        self._run = run
        self._take = script("take.lua", KEYS + CLOSE)
        self._close = script("close.lua", KEYS + CLOSE)
        self._let_go = script("let_go.lua", KEYS)
        self._next_at: float | None = 0.0  # unknown: look
        self.batch_bytes = batch_bytes

    def take(self, entries: Sequence[Entry], now_ms: int | None = None, remembered: int = REMEMBERED) -> list[Taken]:
        """Put messages into their windows, in this order, in one script. Safe to repeat for those that have an id."""
        arguments: list[Any] = ["" if now_ms is None else now_ms, remembered, self.batch_bytes]
        for entry in entries:
            arguments += _arguments(entry)
        next_in, *answers = self._run(self._take, *arguments)
        self._note(next_in)
        return [Taken(kind.decode(), run.decode() or None) for kind, run in answers]

    def due(self, now_ms: int | None = None, most: int = MOST) -> list[Closed]:
        """Close what is due; return the oldest of all closed windows. A repeat returns them again, until `done`."""
        next_in, *answers = self._run(self._close, "" if now_ms is None else now_ms, most, MOST_BYTES)
        self._note(next_in)
        return [_closed(*answer) for answer in answers]

    def done(self, run_ids: Sequence[str]) -> None:
        """Forget windows whose runs are in the queue. A repeat does nothing."""
        if run_ids:
            self._run(self._let_go, *run_ids)

    def next_due(self) -> float | None:
        """Return in how many seconds `due` will have something, 0 for at once; None for nothing. Asks no Redis."""
        return None if self._next_at is None else max(0.0, self._next_at - time.monotonic())

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return by pipeline and trigger how many messages were `taken`, and what they became.

        `taken` is `ran` (in that many `runs`), `replaced`, `discarded`, and those that are held now. `repeated` ones
        were not taken.
        """
        found: dict[tuple[str, str], dict[str, int]] = {}
        for name, number in self._redis.hgetall("fpbus:triggers:counts").items():
            pipeline, trigger, what = name.decode().split(":")
            found.setdefault((pipeline, trigger), {})[what] = int(number)
        return found

    def _note(self, next_in_ms: int) -> None:
        self._next_at = None if next_in_ms < 0 else time.monotonic() + next_in_ms / 1000


def _arguments(entry: Entry) -> list[Any]:
    job, window = entry.job, entry.window
    of = f"{job.pipeline}:{entry.trigger}"
    inputs = b""
    if isinstance(window, BatchWindow):
        inputs = _pack(job.request.inputs or {})
        job = msgspec.structs.replace(job, request=msgspec.structs.replace(job.request, inputs=None))
    size, span_s, most_s, name = _rule(window)
    return [
        f"{of}:{job.request.key or ''}",
        of,
        job.pipeline.replace(".", "_")[:_PREFIX_CHARS],
        window.__struct_config__.tag,
        _pack(job),
        inputs,
        entry.delivery or "",
        entry.digest,
        int(entry.again),
        entry.number or "",
        int(job.dedup_window_s * 1000),
        size,
        round(span_s * 1000),
        round(most_s * 1000),
        name,
    ]


def _rule(window: WindowConfig) -> tuple[int, float, float, str]:
    """Return how many messages, for how long, for how long at most, and the name of a batch's input."""
    if isinstance(window, BatchWindow):
        return window.size, window.max_wait_s, 0, window.as_input
    if isinstance(window, DebounceWindow):
        return 1, window.quiet_s, window.max_wait_s or 0, ""
    return 1, window.every_s, 0, ""


def _closed(run: bytes, of: bytes, data: bytes, name: bytes, inputs: Sequence[bytes]) -> Closed:
    job, run_id = _unpack_job(data), run.decode()
    request = msgspec.structs.replace(job.request, run_id=run_id)
    if name:
        batch = {name.decode(): [_unpack(each) for each in inputs]}
        request = msgspec.structs.replace(request, inputs=batch, expires_at=None)  # a list expires at no one time
    return Closed(of.decode().partition(":")[2], msgspec.structs.replace(job, run_id=run_id, request=request))
