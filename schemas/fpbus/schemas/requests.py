"""What a publisher may ask for: one run of a pipeline."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from .codes import Priority
from .names import RunId
from .settings import RunSettings

#: Fields that change how a pipeline runs. On `run` topics they are refused unless the pipeline's
#: own `allow_overrides` lists them: a publisher chooses a pipeline and its inputs, nothing else.
OVERRIDES: Final = (
    "config",
    "cache",
    "executor",
    "with_adapter",
    "max_retries",
    "retry_delay",
    "jitter_factor",
    "retry_exceptions",
    "timeout_s",
    "log_level",
)


class RunRequest(
    RunSettings, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="run_request"
):
    """Ask for one run of the pipeline that the topic names.

    Every field is optional and may be null, which means its default. Times without a zone are in the
    project's time zone. The same `run_id` with an equal request is the same run.
    """

    run_id: RunId | None = None
    reply_to: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    priority: Priority | None = None
    key: Annotated[str, Meta(max_length=256)] | None = None
    traceparent: Annotated[str, Meta(max_length=64)] | None = None
    tracestate: Annotated[str, Meta(max_length=512)] | None = None
