"""Where clocks jump: which moments a time on the wall names. In spring some name none, in autumn some name two.

Wall times are without a zone; moments are in UTC. A jump may have any length and come at any hour: half an hour on
Lord Howe, at midnight in Cairo.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

#: Longer jumps are a change of the calendar, not of the season: Debian's cron makes up for nothing then.
LONGEST_JUMP: Final = timedelta(hours=3)

_STEP: Final = timedelta(seconds=1)


def wall_of(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clocks show."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def moments_of(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Return the moments at which the clocks show `wall`: usually one, none in a gap, two when they are set back."""
    passes = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    if passes[0] == passes[1]:
        return passes[:1]
    return passes if passes[0] < passes[1] else []


def end_of_gap(wall: datetime, zone: tzinfo) -> datetime | None:
    """Return when the clocks jumped over `wall`, which no clock shows; None for a jump that is too long."""
    late, early = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if late - early > LONGEST_JUMP:
        return None
    return _jump_between(early, late, zone)


def set_back_soon(moment: datetime, zone: tzinfo) -> datetime | None:
    """Return when the clocks are set back to before what they show at `moment`; None when they do not show it again."""
    passes = moments_of(wall_of(moment, zone), zone)
    if len(passes) < 2 or moment >= passes[1]:
        return None
    return _jump_between(passes[0], passes[1], zone)


def jump_at(moment: datetime, zone: tzinfo) -> timedelta:
    """Return by how much the clocks are set forward at that very moment; zero mostly."""
    return _offset(moment, zone) - _offset(moment - _STEP, zone)


def _jump_between(early: datetime, late: datetime, zone: tzinfo) -> datetime:
    """Return the first second whose offset is not that of `early`; there is one, `late` at the latest."""
    low, high = int(early.timestamp()), int(late.timestamp())
    before = _offset(early, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, UTC), zone) == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
