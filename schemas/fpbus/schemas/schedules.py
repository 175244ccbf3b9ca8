"""`schedule:` of a pipeline, in the forms that people write."""

from msgspec import Struct


class IntervalFields(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An interval in parts, as in `interval: {hours: 4, minutes: 30}`."""

    weeks: float = 0
    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0


class CronFields(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Cron in parts, as in `cron: {minute: 0, hour: 3, day_of_week: mon-fri}`.

    As APScheduler has it, a part left out is `*` above the smallest part given, and the least value below it.
    """

    year: int | str | None = None
    month: int | str | None = None
    week: int | str | None = None
    day: int | str | None = None
    day_of_week: int | str | None = None
    hour: int | str | None = None
    minute: int | str | None = None
    second: int | str | None = None


class ScheduleConfig(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`schedule:` of a pipeline: one of `cron`, `interval` and `date`, and the IANA zone that it counts in."""

    cron: str | CronFields | None = None
    interval: float | str | IntervalFields | None = None
    date: str | None = None
    timezone: str | None = None
    enabled: bool = True
