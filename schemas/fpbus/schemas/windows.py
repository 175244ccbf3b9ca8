"""`window:` of a trigger: how messages that come close together become fewer runs.

Messages of one key share a window.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

from .settings import MOST_SECONDS

_Seconds = Annotated[float, Meta(ge=0.001, le=MOST_SECONDS)]
_Input = Annotated[str, Meta(min_length=1, max_length=256)]


class BatchWindow(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="batch", tag_field="kind"
):
    """One run for up to `size` messages, or for those that came within `max_wait_s` of the first.

    Its input `as` is the list of their inputs, in order of arrival.
    """

    max_wait_s: _Seconds
    size: Annotated[int, Meta(ge=1, le=100_000)] = 100
    as_input: _Input = field(name="as", default="messages")


class DebounceWindow(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="debounce", tag_field="kind"
):
    """One run with the last message, when none came for `quiet_s`, or `max_wait_s` after the first at the latest."""

    quiet_s: _Seconds
    max_wait_s: _Seconds | None = None


class ThrottleWindow(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="throttle", tag_field="kind"
):
    """The first message runs at once; those that come within `every_s` after it are discarded."""

    every_s: _Seconds


class LatestWindow(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="latest", tag_field="kind"
):
    """One run per `every_s` at most: the first at once, then the last of those that came meanwhile."""

    every_s: _Seconds


WindowConfig = BatchWindow | DebounceWindow | ThrottleWindow | LatestWindow
