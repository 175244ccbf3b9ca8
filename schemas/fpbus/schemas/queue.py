"""What lies in Redis between dispatcher and runner: key names, the job's data, and how an attempt is named.

The keys under `rq:` are RQ's own, so that its tools see true queues, workers and registries; those under
`fpbus:` are ours. Nothing here is ever pickled: `Serializer` is given to RQ wherever it asks for one.

    rq:job:<run>                hash    RQ's job; ours beside it: `pipeline`, `key`, `seq`, `attempt`, `lost`, `cancel`,
                                        `delete` when it goes at its end, `follow`
                                        when its end makes other runs, `held` and `group` while it is held;
                                        `account` of the lost attempt `account_of`, when its runner lives
    rq:queue:<queue>            list    run ids that wait for a worker
    rq:scheduled:<queue>        zset    run ids that wait for their time (seconds)
    rq:wip:<queue>              zset    executions that run; RQ's started registry
    fpbus:run:<run>             hash    the ledger: digest, state, pipeline; outlives the job
    fpbus:open                  zset    runs that have not ended, by the time of acceptance (ms)
    fpbus:expiring              zset    those of them that have a time until which they must start (ms)
    fpbus:leases                zset    executions that run, by the end of their lease (ms)
    fpbus:ended                 zset    runs that have ended, and whose next ones are not made yet, by then (ms)
    fpbus:outbox, :due          hash, zset   results not yet in the history, and when they were last published (ms)
    fpbus:held                  zset    runs that may not start yet, by `seq`: see `holding`
    fpbus:held:counts           hash    how many of them, by `<queue>:<pipeline>`
    fpbus:held:<queue>:<pipeline>           zset    groups of them, by the `seq` of their first
    fpbus:held:<queue>:<pipeline>:<group>   zset    one group: all of a key where keys are limited, else all
    fpbus:paused                hash    pipelines that are paused, and since when
    fpbus:limits                hash    the limits of pipelines that have some, as JSON
    fpbus:rate:<pipeline>       hash    a token bucket: `tokens`, and how many those were when (ms)
    fpbus:seq                   string  how many runs there were: gives each its place in line
    fpbus:queues                zset    queues that ever got a run, by when that was first (ms)
    fpbus:workers               hash    by worker: until when it is believed without a heartbeat (ms), a blank, and the
                                        queues it serves, with commas, or `*` for all
    fpbus:doorbell:<queue>      list    rung when a queue gets work; idle workers wait on it
    fpbus:dispatcher            string  token of the active dispatcher
    fpbus:deliveries, :order    hash, list   packet ids of the session's last messages without a run id
    fpbus:counters              hash    what happened that no run tells: superseded results, lost leases
    fpbus:triggers:counts       hash    what became of devices' messages, by `<pipeline>:<trigger>:<what>`

An execution is `<run>:<attempt>.<worker>`: RQ reads the part behind the colon as its execution id.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from .lanes import PRIORITY_LANES
from .requests import RunRequest

#: The one function that a job may name. Nothing looks it up: a runner knows what to do with it.
JOB_FUNCTION: Final = "fpbus.runner.execute"

QUEUES: Final = PRIORITY_LANES  # those that are always there

JOB: Final = "rq:job:"
QUEUE: Final = "rq:queue:"
SCHEDULED: Final = "rq:scheduled:"
STARTED: Final = "rq:wip:"
LEDGER: Final = "fpbus:run:"
OPEN: Final = "fpbus:open"
EXPIRING: Final = "fpbus:expiring"
LEASES: Final = "fpbus:leases"
OUTBOX: Final = "fpbus:outbox"
OUTBOX_DUE: Final = "fpbus:outbox:due"
ENDED: Final = "fpbus:ended"
HELD: Final = "fpbus:held"
HELD_COUNTS: Final = "fpbus:held:counts"
PAUSED: Final = "fpbus:paused"
QUEUES_USED: Final = "fpbus:queues"
WORKERS: Final = "fpbus:workers"
ALL_QUEUES: Final = "*"
DOORBELL: Final = "fpbus:doorbell:"
DISPATCHER: Final = "fpbus:dispatcher"
DELIVERIES: Final = "fpbus:deliveries"
DELIVERY_ORDER: Final = "fpbus:deliveries:order"
COUNTERS: Final = "fpbus:counters"
TRIGGER_COUNTS: Final = "fpbus:triggers:counts"

#: Lua that ends a run for good. Both sides end runs: the runner what it ran, the dispatcher what died or
#: never started. `run` names its registry: finished, failed or canceled. The outbox entry is written in
#: the same script, so a run cannot end without a result that will be published.
END_RUN: Final = """
local function end_run(run)
  local job = 'rq:job:' .. run.id
  local now = redis.call('TIME')
  local seconds, millis = tonumber(now[1]), now[1] * 1000 + math.floor(now[2] / 1000)
  local to_do = redis.call('HMGET', job, 'delete', 'follow')
  if to_do[1] then
    redis.call('DEL', job, 'rq:results:' .. run.id)
  else
    redis.call('HSET', job, 'status', run.registry, 'ended_at', run.ended_at)
    redis.call('ZADD', 'rq:' .. run.registry .. ':' .. run.queue, seconds + run.keep_s, run.id)
    redis.call('EXPIRE', job, run.keep_s)
    redis.call('EXPIRE', 'rq:results:' .. run.id, run.keep_s)
    if to_do[2] then redis.call('ZADD', 'fpbus:ended', millis, run.id) end
  end
  redis.call('HSET', 'fpbus:outbox', run.id, run.result)
  redis.call('ZADD', 'fpbus:outbox:due', millis, run.id)
  redis.call('HSET', 'fpbus:run:' .. run.id, 's', run.state)
  redis.call('EXPIRE', 'fpbus:run:' .. run.id, run.window_s)
  redis.call('ZREM', 'fpbus:open', run.id)
  redis.call('ZREM', 'fpbus:expiring', run.id)
end
"""


class RunJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one argument of every job: the request, and what the dispatcher knows about it.

    `not_before` is set only when it lay ahead. `timeout_s`, `dedup_window_s` and `lost_attempts` are settled
    at the door, so that a run keeps the rules under which it was accepted. `after` is the run whose end made this one,
    the last of `hops` in a row; `follow`: the end of this one makes others. `as_event`: it is answered with a
    CloudEvent, as it was asked for.
    """

    run_id: str
    pipeline: str
    request: RunRequest
    accepted_at: datetime
    timeout_s: float
    dedup_window_s: float
    lost_attempts: int
    queue: str = "default"
    not_before: datetime | None = None
    retry_of: str | None = None
    after: str | None = None
    hops: int = 0
    follow: bool = False
    traceparent: str | None = None
    correlation: bytes | None = None
    as_event: bool = False


class Execution(NamedTuple):
    """One attempt of one run by one worker; its text is the fencing token of everything that it writes."""

    run_id: str
    attempt: int
    worker: str

    def __str__(self) -> str:
        return f"{self.run_id}:{self.attempt}.{self.worker}"

    @classmethod
    def parse(cls, text: str) -> "Execution":
        run_id, _, rest = text.partition(":")
        attempt, _, worker = rest.partition(".")
        return cls(run_id, int(attempt), worker)


class Serializer:
    """MessagePack for RQ, which expects an object with `dumps` and `loads`."""

    dumps = staticmethod(msgspec.msgpack.Encoder().encode)
    loads = staticmethod(msgspec.msgpack.Decoder().decode)


class ForeignJobError(ValueError):
    """A job in the queue that no dispatcher of ours has put there."""


_job_decoder = msgspec.msgpack.Decoder(tuple[str, None, tuple[RunJob], dict[str, Any]])


def job_data(job: RunJob) -> tuple[str, None, tuple[RunJob], dict[str, Any]]:
    """Return the call as RQ keeps it: function, instance, arguments, keyword arguments."""
    return (JOB_FUNCTION, None, (job,), {})


def read_job_data(data: bytes) -> RunJob:
    """Read a job's call without looking anything up; raise `ForeignJobError` for every other call."""
    try:
        function, _, (job,), options = _job_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ForeignJobError(f"A job's data is not a run of ours: {error}.") from None
    if function != JOB_FUNCTION or options:
        raise ForeignJobError(f"A job names the function {function!r}; only {JOB_FUNCTION} is run.")
    return job
