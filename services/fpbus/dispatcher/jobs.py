"""Looking at the runs that are in Redis, by pages: the cost of a look does not grow with the length of a queue."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from fpbus.schemas import TERMINAL, JobInfo, JobState, RunState
from fpbus.schemas.lanes import lanes_of
from fpbus.schemas.queue import (
    HELD,
    HELD_COUNTS,
    JOB,
    LEASES,
    LEDGER,
    OPEN,
    PAUSED,
    QUEUE,
    QUEUES,
    QUEUES_USED,
    SCHEDULED,
    RunJob,
    read_job_data,
)

from .serving import Serving, ask, serving_of

_FIELDS: Final = ("origin", "held", "key", "attempt", "lost", "worker_name", "created_at", "started_at", "ended_at")
_FIRST: Final = 100  # of a line: the rest has its turn half a second later


class Place(NamedTuple):
    """A list or sorted set of run ids, oldest first. `queue` is set where it is the list of one."""

    name: str
    queue: str | None = None


class Running(NamedTuple):
    """A run that holds a slot of its pipeline; `started_at` as RQ writes it, which sorts by time."""

    run_id: str
    pipeline: str
    key: str
    started_at: str
    cancelling: bool


class Wanted(NamedTuple):
    """Which runs are meant; None is any."""

    queue: str | None = None
    state: JobState | None = None
    pipeline: str | None = None

    def fits(self, job: JobInfo) -> bool:
        """Tell whether a run is one of those."""
        if self.pipeline not in {None, job.pipeline} or (self.queue and job.queue not in lanes_of(self.queue)):
            return False
        if self.state == "paused":
            return job.state is RunState.QUEUED and job.held == "paused"
        return self.state in {None, job.state}


def places_of(wanted: Wanted, queues: Sequence[str]) -> list[Place]:
    """Return where in these queues such runs are; runs of other states may be there too."""
    queues = lanes_of(wanted.queue) if wanted.queue else queues
    if wanted.state in {"queued", "paused"}:
        return [Place(HELD), *[Place(QUEUE + queue, queue) for queue in queues]]
    if wanted.state == "started":
        return [Place(LEASES)]
    if wanted.state in {"delayed", "retrying"}:
        return [Place(SCHEDULED + queue) for queue in queues]
    registry = {"succeeded": "finished", "failed": "failed", "dead": "failed", "cancelled": "canceled"}
    return [Place(f"rq:{registry[str(wanted.state)]}:{queue}") for queue in queues]


_WAIT_FOR_A_TIME: Final = frozenset({RunState.DELAYED, RunState.RETRYING})


class Jobs:
    """Reads only, and so needs no lease. Methods raise `redis.RedisError` when Redis does not do its part."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    def places(self, wanted: Wanted) -> list[Place]:
        """Return where to look for runs; without a state, for those that have not ended, by acceptance."""
        return [Place(OPEN)] if wanted.state is None else places_of(wanted, self.queues())

    def queues(self) -> list[str]:
        """Return the queues that there are; a new one comes last, so that who counts them can go on."""
        used = [name.decode() for name in self._redis.zrange(QUEUES_USED, 0, -1)]
        return [*QUEUES, *[name for name in used if name not in QUEUES]]

    def serving(self) -> Serving:
        with self._redis.pipeline(transaction=False) as pipeline:
            ask(pipeline)
            return serving_of(*pipeline.execute())

    def sizes(self, places: Iterable[Place]) -> list[int]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for place in places:
                pipeline.llen(place.name) if place.queue else pipeline.zcard(place.name)
            sizes: list[int] = pipeline.execute()
        return sizes

    def ids(self, place: Place, offset: int, count: int, *, newest: bool) -> list[str]:
        """Return run ids of one place from `offset` on, in the order that is wanted."""
        if place.queue is None:
            return [_run_id(entry) for entry in self._redis.zrange(place.name, offset, offset + count - 1, desc=newest)]
        if not newest:
            return [_run_id(entry) for entry in self._redis.lrange(place.name, offset, offset + count - 1)]
        return [_run_id(entry) for entry in self._redis.lrange(place.name, -offset - count, -offset - 1)[::-1]]

    def look(self, run_ids: Sequence[str]) -> dict[str, JobInfo]:
        """Return what is known of runs; one that nobody knows any more is left out."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hkeys(PAUSED)
            ask(pipeline)
            for run_id in run_ids:
                pipeline.hmget(LEDGER + run_id, "s", "p")
                pipeline.hmget(JOB + run_id, *_FIELDS)
            paused, time, workers, *rows = pipeline.execute()
        found = zip(run_ids, rows[::2], rows[1::2], strict=True)
        serving = serving_of(time, workers)
        known = {
            run_id: _info(run_id, ledger, fields, paused, serving) for run_id, ledger, fields in found if ledger[0]
        }
        return known | self._with_times([info for info in known.values() if info.state in _WAIT_FOR_A_TIME])

    def _with_times(self, delayed: Sequence[JobInfo]) -> dict[str, JobInfo]:
        """Add when runs that wait for their time, or for another try, are queued."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for info in delayed:
                pipeline.zscore(SCHEDULED + (info.queue or ""), info.run_id)
            scores = pipeline.execute()
        return {
            info.run_id: msgspec.structs.replace(info, due_at=datetime.fromtimestamp(score, UTC))
            for info, score in zip(delayed, scores, strict=True)
            if score
        }

    def read(self, run_ids: Sequence[str]) -> dict[str, tuple[RunJob, int]]:
        """Return the jobs of those runs that still have one, and how often they were started."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.hmget(JOB + run_id, "data", "attempt")
            rows = pipeline.execute()
        found = zip(run_ids, rows, strict=True)
        return {run_id: (read_job_data(data), int(attempt or 0)) for run_id, (data, attempt) in found if data}

    def held_by(self, pipeline: str) -> list[JobInfo]:
        """Return the first runs that a pipeline's limit makes wait, some of each group; none that ever ran."""
        run_ids: list[str] = []
        for place in self._redis.hkeys(HELD_COUNTS):
            if place.decode().rpartition(":")[2] == pipeline:
                line = f"{HELD}:{place.decode()}"
                for group in self._redis.zrange(line, 0, _FIRST - 1):
                    entries = self._redis.zrange(f"{line}:{group.decode()}", 0, _FIRST - 1)
                    run_ids += [_run_id(entry) for entry in entries]
        return [job for job in self.look(run_ids).values() if job.held == "limit" and job.attempt == 0]

    def running(self) -> list[Running]:
        """Return what runs, the longest first."""
        run_ids = [_run_id(entry) for entry in self._redis.zrange(LEASES, 0, -1)]
        with self._redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.hmget(JOB + run_id, "pipeline", "key", "started_at", "cancel")
            rows = pipeline.execute()
        texts = [[(value or b"").decode() for value in row] for row in rows]
        found = [
            Running(run_id, pipeline, key, started_at, bool(cancel))
            for run_id, (pipeline, key, started_at, cancel) in zip(run_ids, texts, strict=True)
        ]
        return sorted(found, key=lambda run: run.started_at)

    def paused(self) -> set[str]:
        return {name.decode() for name in self._redis.hkeys(PAUSED)}

    def show(self, run_id: str) -> JobInfo | None:
        """Return all that is known of one run, its request as well while its data is there."""
        info, job = self.look([run_id]).get(run_id), self.read([run_id]).get(run_id)
        if info is None or job is None:
            return info
        return msgspec.structs.replace(
            info,
            accepted_at=job[0].accepted_at,
            timeout_s=job[0].timeout_s,
            retry_of=job[0].retry_of,
            request=job[0].request,
        )


def _run_id(entry: bytes) -> str:
    return entry.decode(errors="replace").partition(":")[0]


def _info(
    run_id: str,
    ledger: Sequence[bytes | None],
    fields: Sequence[bytes | None],
    paused: Sequence[bytes],
    serving: Serving,
) -> JobInfo:
    texts = {name: value.decode() for name, value in zip(_FIELDS, fields, strict=True) if value}
    state = RunState((ledger[0] or b"").decode())
    queue = texts.get("origin")
    held = texts.get("held") or ("paused" if ledger[1] in paused else None)
    if held is None and queue and not serving.count(queue):
        held = "unserved"
    return JobInfo(
        run_id=run_id,
        pipeline=(ledger[1] or b"").decode(),
        state=state,
        queue=queue,
        held=held if state is RunState.QUEUED else None,  # type: ignore[arg-type]  # the scripts' own words
        key=texts.get("key"),
        attempt=int(texts.get("attempt", 0)),
        lost=int(texts.get("lost", 0)),
        worker=texts.get("worker_name") or None,
        accepted_at=_time(texts, "created_at"),
        started_at=_time(texts, "started_at"),
        ended_at=_time(texts, "ended_at") if state in TERMINAL else None,
    )


def _time(texts: dict[str, str], name: str) -> datetime | None:
    return datetime.fromisoformat(texts[name]) if name in texts else None
