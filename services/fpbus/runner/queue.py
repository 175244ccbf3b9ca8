"""The runner's side of RQ's Redis: claim, keep, finish, hand back. One script each; see `fpbus.schemas.queue`."""

import platform
import socket
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zlib import compress

from redis import Redis
from redis.exceptions import NoScriptError
from rq.utils import utcformat
from rq.version import VERSION

from fpbus.lifecycle import check_redis_server
from fpbus.schemas import RunState
from fpbus.schemas.holding import COME_BACK, HOLD, RING, UNHOLD
from fpbus.schemas.lanes import all_lanes
from fpbus.schemas.queue import (
    ALL_QUEUES,
    DOORBELL,
    END_RUN,
    LEASES,
    QUEUES,
    QUEUES_USED,
    WORKERS,
    Execution,
    ForeignJobError,
    RunJob,
    Serializer,
    read_job_data,
)

from .orders import Ended

KEEP_S: Final = 24 * 3600  # until the recorder has the result; then minutes

_REGISTRIES: Final = {
    RunState.SUCCEEDED: "finished",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "canceled",
    RunState.DEAD: "failed",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker has taken. `data` is the job's call as it lies in Redis, for the work-horse."""

    execution: Execution
    job: RunJob
    data: bytes
    lost_before: int
    cancelled: bool

    @property
    def run_id(self) -> str:
        return self.execution.run_id


class WorkQueue:
    """Where workers find runs, in these queues or, with None, in all that there are.

    Methods raise `redis.RedisError` when Redis does not do its part.
    """

    def __init__(
        self,
        url: str,
        queues: Sequence[str] | None,
        lease_s: float,
        options: Mapping[str, Any] | None = None,
        *,
        allow_volatile: bool = False,
    ) -> None:
        self._url = url
        self._allow_volatile = allow_volatile
        # redis-py's hints unite the replies of all protocols and modes; ours are bytes.
        self._redis: Any = Redis.from_url(url, socket_timeout=10.0, socket_connect_timeout=2.0, **(options or {}))
        self._serves = ALL_QUEUES if queues is None else ",".join(queues)
        self._queues = list(QUEUES if queues is None else queues)
        self._lease_ms = int(lease_s * 1000)
        self._claim = self._script("claim.lua", RING + UNHOLD + HOLD)
        self._finish = self._script("finish.lua", RING + END_RUN)
        self._release = self._script("release.lua", RING + HOLD + COME_BACK)
        self._heartbeat = self._script("heartbeat.lua")
        self._refuse = self._script("refuse.lua", RING)
        self._lapse = self._script("lapse.lua")
        self._register = self._script("register.lua")

    @property
    def queues(self) -> list[str]:
        return self._queues

    def check_server(self) -> None:
        """Raise `RedisUnfitError` for a server on which runs would be lost, `RedisRefusedError` for a wrong login."""
        check_redis_server(self._redis, self._url, allow_volatile=self._allow_volatile)

    def look_for_queues(self) -> bool:
        """Serve also what was used first since the last look, where all are served; tell whether there was one."""
        if self._serves != ALL_QUEUES:
            return False
        queues = all_lanes(name.decode() for name in self._redis.zrange(QUEUES_USED, 0, -1))
        found, self._queues = queues != self._queues, queues
        return found

    def _script(self, name: str, functions: str = "") -> Any:
        first_line, rest = Path(__file__).with_name(name).read_text(encoding="utf-8").split("\n", 1)
        return self._redis.register_script(f"{first_line}\n{functions}{rest}")  # its flags have to stand first

    def close(self) -> None:
        self._redis.close()

    def claim(self, worker: str, most: int) -> tuple[list[Claim], list[str]]:
        """Take up to `most` runs; also return why jobs were set aside that are none of ours."""
        rows = self._claim(args=[worker, self._lease_ms, most, utcformat(datetime.now(UTC)), *self._queues])
        claims: list[Claim] = []
        refused: list[str] = []
        for row in rows:
            try:
                claims.append(_claim_of(*row))
            except ValueError as error:
                execution, run_id, queue = row[0], row[1], row[-1]
                self._refuse(args=[execution, run_id, queue, utcformat(datetime.now(UTC)), KEEP_S])
                refused.append(f"{run_id.decode(errors='replace')}: {error}")
        return claims, refused

    def wait(self, timeout_s: float) -> None:
        """Wait until a queue gets work, or a second or so has passed."""
        self._redis.blpop([DOORBELL + queue for queue in self._queues], timeout_s)

    def finish(self, endings: Iterable[tuple[Claim, Ended]]) -> list[bool]:
        """End attempts, in one round trip; False for one that another worker has by now."""
        arguments = [_finish_arguments(claim, ended) for claim, ended in endings]
        if len(arguments) == 1:
            return [self._finish(args=arguments[0]) == b"done"]
        try:
            return self._finish_many(arguments)
        except NoScriptError:  # Redis was restarted; nothing of it has been done
            self._redis.script_load(self._finish.script)
            return self._finish_many(arguments)

    def _finish_many(self, arguments: list[list[Any]]) -> list[bool]:
        # redis-py's own scripts in a pipeline cost a SCRIPT EXISTS each time.
        with self._redis.pipeline(transaction=False) as pipeline:
            for one in arguments:
                pipeline.evalsha(self._finish.sha, 0, *one)
            return [answer == b"done" for answer in pipeline.execute()]

    def release(self, claims: Iterable[Claim], *, started: bool) -> None:
        """Hand runs back, the last one first, so that they stand in the queue as they did."""
        for claim in reversed(list(claims)):
            self._release(args=[str(claim.execution), claim.run_id, claim.job.queue, "1" if started else ""])

    def lapse(self, executions: Iterable[Execution], account: bytes = b"") -> None:
        """Let leases run out now: the dispatcher then counts a lost attempt, and has it run again.

        `account`, of the first of them, is for the result when it is not run again.
        """
        names = [(execution.run_id, str(execution)) for execution in executions]
        self._lapse(args=[account, *[part for pair in names for part in pair]])

    def lapse_of(self, worker: str) -> int:
        """Let go of what an earlier process of this worker's name had in hand; return how many."""
        leases = self._redis.zrange(LEASES, 0, -1)
        left = [Execution.parse(lease.decode()) for lease in leases if _worker_of(lease) == worker]
        self.lapse(left)
        return len(left)

    def heartbeat(self, workers: Sequence[str], executions: Sequence[Execution]) -> tuple[set[str], set[str]]:
        """Keep all leases; return the executions that were superseded, and those to be cancelled."""
        stamp = utcformat(datetime.now(UTC))
        head = [self._lease_ms, stamp, self._serves, len(workers)]
        answer = self._heartbeat(args=[*head, *workers, *map(str, executions)])
        superseded, cancelled = ({entry.decode() for entry in part} for part in answer)
        return superseded, cancelled

    def register(self, worker: str, pid: int) -> None:
        """Show the worker to RQ's tools and to the dispatcher."""
        now = utcformat(datetime.now(UTC))
        facts: dict[str, Any] = {
            "birth": now,
            "last_heartbeat": now,
            "queues": ",".join(self._queues),
            "pid": pid,
            "hostname": socket.gethostname(),
            "ip_address": "",
            "version": VERSION,
            "python_version": platform.python_version(),
            "state": "idle",
        }
        parts = [part for pair in facts.items() for part in pair]
        self._register(args=[worker, self._lease_ms, self._serves, len(self._queues), *self._queues, *parts])

    def unregister(self, worker: str) -> None:
        key = f"rq:worker:{worker}"
        with self._redis.pipeline() as pipeline:
            pipeline.srem("rq:workers", key)
            pipeline.hdel(WORKERS, worker)
            for queue in self._queues:
                pipeline.srem(f"rq:workers:{queue}", key)
            pipeline.delete(key)
            pipeline.execute()


def _claim_of(  # noqa: PLR0917 (a row of claim.lua)
    execution_text: bytes, run_id: bytes, data: bytes, lost: bytes, cancel: bytes, callbacks: bytes, _queue: bytes
) -> Claim:
    """Read what was claimed; raise `ValueError`, mostly a `ForeignJobError`, for a job that is none of ours."""
    if callbacks:
        raise ForeignJobError("A job names callbacks; they are never called.")
    job, execution = read_job_data(data), Execution.parse(execution_text.decode())
    if not job.run_id == execution.run_id == run_id.decode():
        raise ForeignJobError(f"A job's data is of another run, {job.run_id!r}.")
    return Claim(execution, job, data, int(lost), cancelled=bool(cancel))


def _worker_of(lease: bytes) -> str | None:
    try:
        return Execution.parse(lease.decode()).worker
    except ValueError:  # no lease of ours; the dispatcher lets go of it
        return None


def _finish_arguments(claim: Claim, ended: Ended) -> list[Any]:
    job = claim.job
    head = [str(claim.execution), job.run_id, job.queue]
    ending = [utcformat(datetime.now(UTC)), KEEP_S, int(job.dedup_window_s)]
    if ended.retry_delay_s is not None:
        return [*head, b"", *ending, "retry", int(ended.retry_delay_s * 1000)]
    state = ended.state
    if state == RunState.SUCCEEDED:
        kind, value = 1, b64encode(Serializer.dumps(ended.result.decode()))
    else:
        kind, value = 2, b64encode(compress(ended.result))
    return [*head, ended.whole, *ending, "end", str(state), _REGISTRIES[state], kind, value, claim.execution.worker]
