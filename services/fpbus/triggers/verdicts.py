"""What a trigger says of a message: it starts a run, passes it over, or refuses it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fpbus.schemas import RejectionCode, RunRequest, TriggerConfig


@dataclass(frozen=True, slots=True)
class Start:
    """A run is to be made. `hops` is how many runs led to this message, each by its answer; `event`: a CloudEvent."""

    pipeline: str
    trigger: str
    request: RunRequest
    config: TriggerConfig
    hops: int = 0
    event: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """The message is not for this pipeline; nobody is told."""

    pipeline: str
    trigger: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The message is for this pipeline, and cannot be used. `answers`: where the device hears of it."""

    pipeline: str
    trigger: str
    code: RejectionCode
    message: str
    field: str | None = None
    reply_to: str | None = None
    hops: int = 0


Verdict = Start | Pass | Refusal
Facts = Mapping[str, Any]


class RefusedError(Exception):
    """A message that a trigger cannot use; `field` is a path into its payload."""

    def __init__(self, code: RejectionCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class PassedError(Exception):
    """A message that a trigger is not for, and why."""
