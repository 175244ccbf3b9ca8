"""Look at a Redis before it is used; refuse one on which runs would be lost. It takes redis-py's client as it comes."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fpbus.schemas.lanes import all_lanes
from fpbus.schemas.queue import JOB, QUEUE, QUEUES_USED
from fpbus.schemas.redis_server import check_jobs, check_redis

from .access import redis_refusal

#: Jobs that are looked at, at each end of each queue.
_SAMPLE: Final = 50


def check_redis_server(redis: Any, url: str, *, allow_volatile: bool) -> None:
    """Raise `RedisUnfitError` for a server that is too old, forgets, or is another program's.

    Raises `RedisRefusedError` for a wrong login, and what redis-py raises when the server is away.
    """
    _look(partial(_check_server, redis, allow_volatile=allow_volatile), url)
    _look(partial(_check_queues, redis), url)


def _look(check: Callable[[], None], url: str) -> None:
    try:
        check()
    except Exception as error:
        if type(error).__name__ == "NoPermissionError":
            return  # a user who may not ask; the scripts will tell
        refusal = redis_refusal(error, url)
        if refusal is None:
            raise
        raise refusal from error


def _check_server(redis: Any, *, allow_volatile: bool) -> None:
    check_redis(redis.info(), allow_volatile=allow_volatile)


def _check_queues(redis: Any) -> None:
    for lane in all_lanes(name.decode() for name in redis.zrange(QUEUES_USED, 0, -1)):
        waiting = {*redis.lrange(QUEUE + lane, 0, _SAMPLE - 1), *redis.lrange(QUEUE + lane, -_SAMPLE, -1)}
        ids = sorted(waiting)
        pipeline = redis.pipeline(transaction=False)
        for name in ids:
            pipeline.hget(JOB.encode() + name, "data")
        check_jobs(lane, zip([name.decode(errors="replace") for name in ids], pipeline.execute(), strict=True))
