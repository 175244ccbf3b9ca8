"""Runs in a real Redis, as the dispatcher's and the runner's side make and move them."""

from datetime import UTC, datetime
from typing import Any, Final

from fpbus.dispatcher.queue import RunQueue, Submission
from fpbus.runner.orders import Ended
from fpbus.runner.queue import Claim, WorkQueue
from fpbus.schemas import RunRequest, RunResult, RunState, encode
from fpbus.schemas.queue import RunJob

NOW: Final = datetime.now(UTC).replace(microsecond=0)


def a_job(run_id: str, pipeline: str = "add", on: str = "default", **more: Any) -> RunJob:
    key, not_before = more.get("key"), more.get("not_before")
    return RunJob(
        run_id=run_id,
        pipeline=pipeline,
        request=RunRequest(run_id=run_id, key=key),
        accepted_at=NOW,
        timeout_s=60,
        dedup_window_s=3600,
        lost_attempts=3,
        queue=on,
        not_before=not_before,
    )


def submit(queue: RunQueue, *run_ids: str, **how: Any) -> None:
    outcomes = queue.submit([Submission(a_job(run_id, **how), b"d" * 16) for run_id in run_ids])
    assert {outcome.kind for outcome in outcomes} == {"new"}


def claim(work: WorkQueue, most: int = 16, worker: str = "w/1") -> list[Claim]:
    claims, refused = work.claim(worker, most)
    assert refused == []
    return claims


def names(claims: list[Claim]) -> list[str]:
    return [claim.run_id for claim in claims]


def finish(work: WorkQueue, claim: Claim, state: RunState = RunState.SUCCEEDED) -> None:
    result = RunResult(
        run_id=claim.run_id, pipeline=claim.job.pipeline, state=state, attempt=1, accepted_at=NOW, finished_at=NOW
    )
    assert work.finish([(claim, Ended(state, encode(result)))]) == [True]


def let_lapse(raw: Any) -> None:
    for execution in raw.zrange("fpbus:leases", 0, -1):
        raw.zadd("fpbus:leases", {execution: 1})


def ledger(raw: Any, run_id: str) -> str:
    return str(raw.hget(f"fpbus:run:{run_id}", "s").decode())


def held_keys(raw: Any) -> list[bytes]:
    return sorted(raw.keys("fpbus:held*"))
