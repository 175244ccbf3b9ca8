"""The dispatcher's side of RQ's Redis: everything that writes is one script that checks the lease first.

RQ's own `Job.create(...).to_dict()` gives the hash of a job; what differs from run to run is put into a copy,
because making a Job costs more than all the rest of a submission. See `fpbus.schemas.queue` for the keys.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from rq.job import Job, JobStatus
from rq.utils import utcformat

from fpbus.lifecycle import check_redis_server
from fpbus.schemas import (
    HeldRuns,
    PipelineLimits,
    Priority,
    QueueDepth,
    Queues,
    RunAccount,
    RunResult,
    RunState,
    decode,
    encode,
)
from fpbus.schemas.holding import COME_BACK, HOLD, RING, UNHOLD
from fpbus.schemas.queue import (
    END_RUN,
    ENDED,
    EXPIRING,
    HELD_COUNTS,
    JOB,
    JOB_FUNCTION,
    LEASES,
    LEDGER,
    OPEN,
    OUTBOX,
    OUTBOX_DUE,
    PAUSED,
    QUEUE,
    SCHEDULED,
    TRIGGER_COUNTS,
    Execution,
    ForeignJobError,
    RunJob,
    Serializer,
    job_data,
    read_job_data,
)

from .jobs import Jobs
from .windows import Windows

log = logging.getLogger(__name__)

#: `in_place(id)` tells whether an open run stands where somebody will find it. A queue that is long is not walked to
#: its end: who stands far back comes to the front, and is looked at again then.
IN_PLACE: Final = """
local MOST_WALKED = 2000
local function in_place(id)
  if redis.call('ZSCORE', 'fpbus:held', id) then return true end
  local job = redis.pcall('HMGET', 'rq:job:' .. id, 'origin', 'attempt', 'worker_name')
  if job.err or not job[1] then return false end
  local queue = 'rq:queue:' .. job[1]
  if redis.call('ZSCORE', 'rq:scheduled:' .. job[1], id) then return true end
  local execution = id .. ':' .. (job[2] or '') .. '.' .. (job[3] or '')
  if redis.call('ZSCORE', 'fpbus:leases', execution) then return true end
  return redis.call('LPOS', queue, id, 'MAXLEN', MOST_WALKED) or redis.call('LLEN', queue) > MOST_WALKED
end
"""
LEASE_MS: Final = 3_000
KEEP_UNRECORDED_S: Final = 24 * 3600
KEEP_RECORDED_S: Final = 300
REPUBLISH_AFTER_MS: Final = 5_000
REPUBLISH_MOST: Final = 200
OVERDUE_MOST: Final = 100
REMEMBERED_DELIVERIES: Final = 4096  # twice the receive window


class FencedError(Exception):
    """Another dispatcher holds the lease."""


class Submission(NamedTuple):
    """One run to be made; `packet` names the delivery where the publisher gave no run id."""

    job: RunJob
    digest: bytes
    packet: str | None = None
    again: bool = False
    expired: bool = False


class Outcome(NamedTuple):
    """What the ledger said: `new`, `same`, `conflict` or `expired`, and where the run is."""

    kind: str
    run_id: str
    state: RunState


class Lost(NamedTuple):
    """An execution whose lease has run out."""

    execution: Execution
    job: RunJob
    lost_before: int
    account: RunAccount = RunAccount()


class Orphan(NamedTuple):
    """An open run that stands nowhere. `job` is None where its data is gone, too."""

    run_id: str
    pipeline: str
    state: RunState
    accepted_at: datetime
    job: RunJob | None
    attempt: int
    lost_before: int


class Backlog(NamedTuple):
    """How many runs wait in a queue, and for how many seconds the first of them."""

    depth: int
    oldest_s: float


class RunQueue:
    """Where runs wait. All methods raise `redis.RedisError` when Redis does not do its part."""

    def __init__(
        self, url: str, token: str, options: Mapping[str, Any] | None = None, *, allow_volatile: bool = False
    ) -> None:
        self._url = url
        self._allow_volatile = allow_volatile
        self._token = token
        self.remembered_deliveries = REMEMBERED_DELIVERIES
        #: How many runs came into each queue; whoever reads it may take them out.
        self.taken_in: Counter[str] = Counter()
        # No hidden retries: the service decides when to try again, and says meanwhile that it is degraded.
        # redis-py's hints unite the replies of all protocols and modes; ours are bytes.
        self._redis: Any = Redis.from_url(
            url, socket_timeout=5.0, socket_connect_timeout=2.0, retry=_NO_RETRY, **(options or {})
        )
        self._lease = self._script("lease.lua")
        self._submit = self._script("submit.lua", RING + HOLD)
        self._promote = self._script("promote.lua", RING)
        self._settle = self._script("settle.lua", RING + HOLD + COME_BACK + END_RUN)
        self._cancel = self._script("cancel.lua", UNHOLD + END_RUN)
        self._cancel_many = self._script("cancel_many.lua", UNHOLD + END_RUN)
        self._skip = self._script("skip.lua", UNHOLD + END_RUN)
        self._expire = self._script("expire.lua", UNHOLD + END_RUN)
        self._remove = self._script("remove.lua")
        self._pause = self._script("pause.lua", RING)
        self._limits = self._script("limits.lua", RING)
        self._republish = self._script("republish.lua")
        self._forget = self._script("forget.lua")
        self._new_session = self._script("new_session.lua")
        self._orphans = self._script("orphans.lua", IN_PLACE)
        self._put_back = self._script("put_back.lua", RING + HOLD + COME_BACK + END_RUN + IN_PLACE)
        self.jobs = Jobs(self._redis)
        self.windows = Windows(self._redis, self._script, self._run)

    @property
    def token(self) -> str:
        return self._token

    def _script(self, name: str, functions: str = "") -> Any:
        first_line, rest = Path(__file__).with_name(name).read_text(encoding="utf-8").split("\n", 1)
        return self._redis.register_script(f"{first_line}\n{functions}{rest}")  # its flags have to stand first

    def close(self) -> None:
        self._redis.close()

    def check_server(self) -> None:
        """Raise `RedisUnfitError` for a server on which runs would be lost, `RedisRefusedError` for a wrong login."""
        check_redis_server(self._redis, self._url, allow_volatile=self._allow_volatile)

    def hold_lease(self, heir_of: str = "") -> bool:
        """Take or keep the lease; `heir_of` is the token of a dispatcher that is known to be gone."""
        return bool(self._lease(args=[self._token, LEASE_MS, heir_of]))

    def release_lease(self) -> None:
        """Let a standby have the lease at once, if it is ours."""
        self._lease(args=[self._token, 1, ""])  # ms

    def _run(self, script: Any, *arguments: Any) -> Any:
        answer = script(args=[self._token, *arguments])
        if answer == b"FENCED":
            raise FencedError
        return answer

    def forget_deliveries(self) -> None:
        """Begin a new session: its packet ids mean other messages."""
        self._run(self._new_session)

    def submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Make the runs that are not there yet, all in one script. Safe to repeat."""
        arguments: list[Any] = [LEASE_MS, self.remembered_deliveries, len(submissions)]
        enqueued_at = utcformat(datetime.now(UTC))
        for submission in submissions:
            arguments += _arguments(submission, enqueued_at)
        answers = self._run(self._submit, *arguments)
        outcomes = [Outcome(kind.decode(), run.decode(), RunState(state.decode())) for kind, run, state in answers]
        self.taken_in.update(
            submission.job.queue
            for submission, outcome in zip(submissions, outcomes, strict=True)
            if outcome.kind == "new" and outcome.state == RunState.QUEUED
        )
        return outcomes

    def promote(self) -> list[RunJob]:
        """Queue the runs whose time has come; return those that were delayed, and not those that are tried again."""
        promoted: list[RunJob] = []
        for data in self._run(self._promote, utcformat(datetime.now(UTC)), *self.jobs.queues()):
            with contextlib.suppress(ForeignJobError):  # whoever claims it sets it aside
                promoted.append(read_job_data(data))
        self.taken_in.update(job.queue for job in promoted)
        return promoted

    def lapsed(self) -> list[Lost]:
        """Return executions whose workers have gone silent, the longest first."""
        seconds, micros = self._redis.time()
        entries = self._redis.zrangebyscore(LEASES, "-inf", seconds * 1000 + micros // 1000, 0, 100)
        found: list[Lost] = []
        for entry in entries:
            try:
                execution = Execution.parse(entry.decode())
                job = self._redis.hmget(JOB + execution.run_id, "data", "lost", "account", "account_of")
                found.append(_lost(execution, *job))
            except ValueError as error:  # no job of ours: nobody waits for it
                log.warning("let go of a lease", extra={"execution": repr(entry), "reason": str(error)})
                self._redis.zrem(LEASES, entry)
        return found

    def settle(self, lost: Lost, result: RunResult | None) -> str:
        """Have a lost attempt run again, or end its run with `result`; return what became of it."""
        job, encoded = lost.job, encode(result) if result else b""
        answer = self._run(self._settle, str(lost.execution), job.run_id, job.queue, encoded, *_ending(job))
        return str(answer.decode())

    def orphans(self, first: int, most: int) -> tuple[int, list[Orphan]]:
        """Look at `most` open runs; return where to go on, and those that stand nowhere."""
        goes_on, run_ids = self._run(self._orphans, first, most)
        return goes_on, [self._orphan(run_id.decode()) for run_id in run_ids]

    def _orphan(self, run_id: str) -> Orphan:
        accepted_ms = self._redis.zscore(OPEN, run_id) or 0.0
        state, pipeline = self._redis.hmget(LEDGER + run_id, "s", "p")
        try:
            data, attempt, lost = self._redis.hmget(JOB + run_id, "data", "attempt", "lost")
            job = read_job_data(data or b"")
        except (ForeignJobError, ResponseError):  # a key of another kind, or another's job
            job, attempt, lost = None, None, None
        return Orphan(
            run_id,
            (pipeline or b"").decode(),
            RunState((state or b"queued").decode()),
            datetime.fromtimestamp(accepted_ms / 1000, UTC),
            job,
            int(attempt or 0),
            int(lost or 0),
        )

    def put_back(self, orphan: Orphan, result: RunResult | None, now: datetime) -> str:
        """Give an orphan its place again, or end it with `result`; return what became of it."""
        job = orphan.job
        due = job.not_before if job and orphan.state == RunState.DELAYED else None
        arguments = (
            orphan.run_id,
            job.queue if job else Priority.DEFAULT,
            int(due.timestamp() * 1000) if due and due > now else "",
            "1" if job and orphan.state == RunState.STARTED else "",
            encode(result) if result else b"",
            *(_ending(job) if job else [utcformat(now), KEEP_UNRECORDED_S, KEEP_UNRECORDED_S]),
        )
        return str(self._run(self._put_back, *arguments).decode())

    def find(self, run_id: str) -> tuple[RunState, RunJob | None, int] | None:
        """Return state, job and attempt of a run that the ledger knows; the job goes some time after the end."""
        state = self._redis.hget(LEDGER + run_id, "s")
        if state is None:
            return None
        data, attempt = self._redis.hmget(JOB + run_id, "data", "attempt")
        return RunState(state.decode()), read_job_data(data) if data else None, int(attempt or 0)

    def cancel(self, job: RunJob, result: RunResult, *, delete: bool = False) -> str:
        """End a run that waits, or mark one that runs; return `cancelled`, `marked`, or `ended` before.

        With `delete` its data leaves Redis once it has ended.
        """
        answer = self._run(self._cancel, job.run_id, job.queue, encode(result), *_ending(job), int(delete))
        return str(answer.decode())

    def cancel_many(
        self, runs: Sequence[tuple[RunJob, RunResult]], listed: str, between: tuple[int, int], *, delete: bool
    ) -> list[str]:
        """Do the same to many, which stood in the queue `listed` about `between` these places from its end."""
        arguments: list[Any] = [listed, *between, utcformat(datetime.now(UTC)), KEEP_UNRECORDED_S, int(delete)]
        for job, result in runs:
            arguments += [job.run_id, job.queue, encode(result), int(job.dedup_window_s)]
        return [answer.decode() for answer in self._run(self._cancel_many, *arguments)]

    def skip(self, runs: Sequence[tuple[RunJob, RunResult]]) -> list[bool]:
        """End runs that are held; False for one that is not held any more."""
        return self._end(self._skip, runs)

    def overdue(self) -> list[tuple[RunJob, int]]:
        """Return runs that have not ended, and were to start before now, with their attempts: the first ones."""
        seconds, micros = self._redis.time()
        entries = self._redis.zrangebyscore(EXPIRING, "-inf", seconds * 1000 + micros // 1000, 0, OVERDUE_MOST)
        run_ids = [name.decode() for name in entries]
        jobs = self.jobs.read(run_ids)
        if gone := [name for name in run_ids if name not in jobs]:
            self._redis.zrem(EXPIRING, *gone)
        return list(jobs.values())

    def expire(self, runs: Sequence[tuple[RunJob, RunResult]]) -> list[bool]:
        """End those of them that wait; False for one that runs."""
        return self._end(self._expire, runs)

    def _end(self, script: Any, runs: Sequence[tuple[RunJob, RunResult]]) -> list[bool]:
        arguments: list[Any] = [utcformat(datetime.now(UTC)), KEEP_UNRECORDED_S]
        for job, result in runs:
            arguments += [job.run_id, job.queue, encode(result), int(job.dedup_window_s)]
        return [bool(answer) for answer in self._run(script, *arguments)]

    def remove(self, run_ids: Sequence[str]) -> int:
        """Let the data of runs that have ended leave Redis; return how many had some. Their ids stay taken."""
        return int(self._run(self._remove, *run_ids))

    def pause(self, pipeline: str, since: datetime | None) -> bool:
        """Start no more runs of a pipeline, or with None go on; False when it was so already."""
        return bool(self._run(self._pause, pipeline, since.isoformat() if since else ""))

    def put_limits(self, limits: Mapping[str, PipelineLimits]) -> None:
        """Put the limits of all pipelines in force, also for what waits already."""
        rules = {name: limit_rule(limit) for name, limit in limits.items()}
        self._run(self._limits, *[part for name, rule in rules.items() if rule for part in (name, encode(rule))])

    def unrecorded(self) -> list[bytes]:
        """Return results that were published a while ago and have no receipt, and mark them as published now."""
        results: list[bytes] = self._run(self._republish, REPUBLISH_AFTER_MS, REPUBLISH_MOST)
        return results

    def forget(self, run_ids: Iterable[str]) -> None:
        """Let go of results that the history has."""
        self._run(self._forget, KEEP_RECORDED_S, *run_ids)

    def count_messages(self, counts: Mapping[str, int]) -> None:
        """Add to what became of devices' messages, by `<pipeline>:<trigger>:<what>`."""
        if counts:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name, number in counts.items():
                    pipeline.hincrby(TRIGGER_COUNTS, name, number)
                pipeline.execute()

    def ended(self, most: int) -> list[tuple[str, RunJob | None, RunResult | None]]:
        """Return runs whose end makes others, the first that ended first, with what is still known of them."""
        run_ids = [name.decode() for name in self._redis.zrange(ENDED, 0, most - 1)]
        if not run_ids:
            return []
        results = self._redis.hmget(OUTBOX, run_ids)
        jobs = self.jobs.read(run_ids)
        return [
            (run_id, jobs[run_id][0] if run_id in jobs else None, decode(result, RunResult) if result else None)
            for run_id, result in zip(run_ids, results, strict=True)
        ]

    def followed(self, run_ids: Sequence[str]) -> None:
        """Let go of runs whose next ones are made."""
        self._redis.zrem(ENDED, *run_ids)

    def backlogs(self) -> tuple[dict[str, Backlog], int]:
        """Return what waits in each queue for its turn, and how many results wait for the recorder."""
        names = self.jobs.queues()
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(QUEUE + name).lindex(QUEUE + name, 0)
            *looks, unrecorded, (seconds, micros) = pipeline.zcard(OUTBOX_DUE).time().execute()
            for head in looks[1::2]:
                pipeline.zscore(OPEN, head or b"")
            accepted_ms = pipeline.execute()
        now_ms = seconds * 1000 + micros / 1000
        return {
            name: Backlog(depth, max(0.0, now_ms - since_ms) / 1000 if since_ms else 0.0)
            for name, depth, since_ms in zip(names, looks[0::2], accepted_ms, strict=True)
        }, unrecorded

    def depths(self) -> Queues:
        names, serving = self.jobs.queues(), self.jobs.serving()
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(QUEUE + name)
                pipeline.zcard(SCHEDULED + name)
            pipeline.zcard(LEASES).zcard(OPEN).zcard(OUTBOX_DUE).hgetall(HELD_COUNTS).hgetall(PAUSED)
            *counts, running, open_runs, unrecorded, held, paused = pipeline.execute()
        pairs = zip(names, counts[0::2], counts[1::2], strict=True)
        queues = [
            QueueDepth(name=name, queued=queued, delayed=delayed, workers=serving.count(name))
            for name, queued, delayed in pairs
        ]
        waiting = _held_runs(held, paused)
        return Queues(queues=queues, running=running, open=open_runs, unrecorded=unrecorded, held=waiting)


def limit_rule(limits: PipelineLimits) -> dict[str, float]:
    """Return what scripts read of a pipeline's limits; empty when there are none.

    `burst` is how many may start at once after a pause: what a second brings, and never less than one.
    """
    rule: dict[str, float | None] = {
        "max_running": limits.max_running,
        "max_running_per_key": limits.max_running_per_key,
        "per_s": limits.per_s,
        "burst": max(1.0, limits.per_s) if limits.per_s else None,
    }
    return {name: value for name, value in rule.items() if value is not None}


def _held_runs(counts: Mapping[bytes, bytes], paused: Mapping[bytes, bytes]) -> list[HeldRuns]:
    held = dict.fromkeys((name.decode() for name in paused), 0)
    for place, count in counts.items():
        pipeline = place.decode().rpartition(":")[2]
        held[pipeline] = held.get(pipeline, 0) + int(count)
    since = {name.decode(): datetime.fromisoformat(text.decode()) for name, text in paused.items()}
    return [HeldRuns(pipeline=name, held=held[name], paused_since=since.get(name)) for name in sorted(held)]


_NO_RETRY: Final = Retry(NoBackoff(), 0)


def _ending(job: RunJob) -> list[Any]:
    return [utcformat(datetime.now(UTC)), KEEP_UNRECORDED_S, int(job.dedup_window_s)]


def _lost(
    execution: Execution, data: bytes | None, lost: bytes | None, account: bytes | None, account_of: bytes | None
) -> Lost:
    """Read what a job says of an attempt; raise `ValueError` for a job that is none of ours."""
    ours = account is not None and account_of == str(execution).encode()
    told = decode(account, RunAccount) if ours and account else RunAccount()
    return Lost(execution, read_job_data(data or b""), int(lost or 0), told)


def _arguments(submission: Submission, enqueued_at: str) -> list[Any]:
    job = submission.job
    fields = job_hash(job, enqueued_at)
    due = "" if job.not_before is None else int(job.not_before.timestamp() * 1000)
    packet = submission.packet or ""
    head = [job.run_id, submission.digest, job.pipeline, job.queue, job.request.key or "", due, packet]
    until = "" if job.request.expires_at is None else int(job.request.expires_at.timestamp() * 1000)
    head += [int(submission.again), int(submission.expired), until, 2 * len(fields)]
    return head + [part for pair in fields.items() for part in pair]


def job_hash(job: RunJob, enqueued_at: str) -> dict[str, Any]:
    """Return the fields of RQ's job; `data` is not compressed, which RQ reads as well."""
    status = JobStatus.QUEUED if job.not_before is None else JobStatus.SCHEDULED
    key = {} if job.request.key is None else {"key": job.request.key}
    follow = {"follow": 1} if job.follow else {}
    return (
        _template(job.queue, status)
        | key
        | follow
        | {
            "pipeline": job.pipeline,
            "created_at": enqueued_at,
            "enqueued_at": enqueued_at,
            "data": Serializer.dumps(job_data(job)),
            "description": f"{job.pipeline} {job.run_id}",
            "timeout": int(job.timeout_s) or 1,
        }
    )


@lru_cache(maxsize=64)
def _template(queue: str, status: JobStatus) -> dict[str, Any]:
    job = Job.create(JOB_FUNCTION, origin=queue, status=status, serializer=Serializer, connection=_UNUSED)
    return {name: value for name, value in job.to_dict().items() if value is not None}


_UNUSED: Final = Redis()  # a Job wants one to be made; it is never connected
