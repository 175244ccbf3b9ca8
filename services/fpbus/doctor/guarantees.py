"""Which guarantee really holds, for each pipeline and each of its triggers, and why: values in, sentences out."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

from fpbus.schemas import LimitsConfig, PipelineConfig, TriggerConfig
from fpbus.schemas.windows import BatchWindow, DebounceWindow, LatestWindow, ThrottleWindow

Level = Literal["effectively once", "at least once", "best effort"]

_HOUR_S: Final = 3600


class Ground(Struct, frozen=True, kw_only=True):
    """What broker and Redis were found to do; None is what could not be seen. `queue_limit` is in messages."""

    sessions: bool | None = None
    redelivery: bool | None = None
    queue_limit: int | None = None
    broker_disk: bool | None = None
    redis_disk: bool | None = None
    evicts: bool | None = None


class Guarantee(Struct, frozen=True, kw_only=True):
    """What holds for one way into a pipeline, or for its execution, and why."""

    pipeline: str
    of: str
    level: Level
    why: str


def guarantees_of(name: str, config: PipelineConfig, limits: LimitsConfig, ground: Ground) -> list[Guarantee]:
    """Return one for messages on its run topic, one for each trigger, for its schedule, and for its execution."""
    topic = f"pipelines/{name}/run"
    found = [_made(name, topic, ground, _numbered(limits))]
    found += [_of_trigger(name, trigger, limits, ground) for trigger in config.triggers]
    if config.schedule is not None:
        found.append(_of_schedule(name, ground))
    return [*found, _of_execution(name, config, limits)]


def _of_trigger(name: str, trigger: TriggerConfig, limits: LimitsConfig, ground: Ground) -> Guarantee:
    if trigger.qos == 0:
        why = "`qos: 0`: nobody confirms a message, and one that comes while the dispatcher is away is gone"
        return Guarantee(pipeline=name, of=trigger.topic, level="best effort", why=_sentence([why]))
    once = _numbered(limits) if trigger.identity else None
    return _made(name, trigger.topic, ground, once, _of_window(trigger))


def _numbered(limits: LimitsConfig) -> str:
    hours = limits.dedup_window_s / _HOUR_S
    return f"messages with one run id are one run, until {hours:g} h after its end"


def _made(name: str, of: str, ground: Ground, once: str | None, more: str | None = None) -> Guarantee:
    """Say what holds for runs that messages make; `once` is why none is made twice."""
    faults = [*_faults_of_broker(ground), *_faults_of_redis(ground)]
    if faults:
        parts = [*faults, *([more] if more else [])]
        return Guarantee(pipeline=name, of=of, level="best effort", why=_sentence(parts))
    parts = ["a message is confirmed when its run is stored"]
    parts.append(once or "messages have no `run_id`, so one that its publisher sends twice is two runs")
    parts += [more] if more else []
    parts.append("not so for what is published with QoS 0")
    level: Level = "effectively once" if once else "at least once"
    return Guarantee(pipeline=name, of=of, level=level, why=_sentence(parts, list(_unseen(ground))))


def _of_schedule(name: str, ground: Ground) -> Guarantee:
    faults = list(_faults_of_redis(ground))
    if faults:
        return Guarantee(pipeline=name, of="schedule", level="best effort", why=_sentence(faults))
    parts = ["the run id is made of schedule and due time, and the scheduler asks until it is accepted"]
    unseen = list(_unseen_of_redis(ground))
    return Guarantee(pipeline=name, of="schedule", level="effectively once", why=_sentence(parts, unseen))


def _of_execution(name: str, config: PipelineConfig, limits: LimitsConfig) -> Guarantee:
    tries = config.run.max_retries
    parts = [f"a run whose worker dies runs again, {limits.lost_attempts} times in all; one result is recorded"]
    if tries:
        parts.append(f"after an error it is tried {tries} more time{'' if tries == 1 else 's'}")
    parts.append("what its code did to the world until then can repeat")
    return Guarantee(pipeline=name, of="execution", level="at least once", why=_sentence(parts))


def _of_window(trigger: TriggerConfig) -> str | None:
    """Say which messages make no run of their own, by design."""
    match trigger.window:
        case BatchWindow():
            words = "many messages are one run"
            return words if trigger.identity else f"{words}, and one that comes twice can be in it twice"
        case DebounceWindow():
            return "only the last message of a window runs"
        case ThrottleWindow(every_s=every_s):
            return f"messages within {every_s:g} s of another are discarded"
        case LatestWindow(every_s=every_s):
            return f"only the last message in {every_s:g} s runs"
        case _:
            return None


def _faults_of_broker(ground: Ground) -> Iterator[str]:
    if ground.sessions is False:
        yield "the broker keeps nothing while the dispatcher is away"
    elif ground.redelivery is False:
        yield "the broker does not send again what a dispatcher had in hand when it died"
    elif ground.queue_limit is not None:
        yield f"the broker keeps {ground.queue_limit:,} messages while the dispatcher is away, and drops the others"
    if ground.broker_disk is False:
        yield "the broker loses what it holds when it restarts"


def _faults_of_redis(ground: Ground) -> Iterator[str]:
    if ground.evicts:
        yield "Redis throws runs away when it is full"
    if ground.redis_disk is False:
        yield "Redis loses all runs when it restarts"


def _unseen(ground: Ground) -> Iterator[str]:
    if ground.sessions is None:
        yield "that the broker keeps sessions"
    if ground.broker_disk is None:
        yield "that the broker writes to disk"
    yield from _unseen_of_redis(ground)


def _unseen_of_redis(ground: Ground) -> Iterator[str]:
    if ground.redis_disk is None:
        yield "that Redis has its append-only file"


def _sentence(parts: Sequence[str], granted: Sequence[str] = ()) -> str:
    text = "; ".join([*parts, *([f"not seen from here: {', '.join(granted)}"] if granted else [])])
    return f"{text[:1].upper()}{text[1:]}."
