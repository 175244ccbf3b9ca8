"""Names and ids: what may stand in a topic, in a key and in a path."""

import re
from typing import Annotated, Final

from msgspec import Meta

# `$` alone would let a trailing newline pass.
RUN_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}(?!\n)$"
PIPELINE_PATTERN: Final = r"^[a-z0-9_][a-z0-9_.-]{0,63}(?!\n)$"

RunId = Annotated[str, Meta(pattern=RUN_ID_PATTERN, description="Id of a run; also RQ's job id and the history's key.")]
PipelineName = Annotated[str, Meta(pattern=PIPELINE_PATTERN, description="A key of the project; never part of a path.")]

_run_id = re.compile(RUN_ID_PATTERN)
_pipeline = re.compile(PIPELINE_PATTERN)


def is_run_id(text: str) -> bool:
    return _run_id.match(text) is not None


def is_pipeline_name(text: str) -> bool:
    return _pipeline.match(text) is not None
