"""The words that programs branch on: why a message was refused, why a run failed, how a run is ranked."""

from enum import StrEnum


class RejectionCode(StrEnum):
    """Why a message did not become a run."""

    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_PIPELINE = "unknown_pipeline"
    NOT_ALLOWED = "not_allowed"
    CONFLICT = "conflict"
    RETAINED = "retained"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    EXPIRED = "expired"
    LOOP = "loop"
    ILLEGAL_NAME = "illegal_name"


class FailureCode(StrEnum):
    """Why a run did not succeed."""

    PIPELINE_ERROR = "pipeline_error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    WORKER_LOST = "worker_lost"
    RESULT_NOT_ENCODABLE = "result_not_encodable"
    PIPELINE_NOT_LOADABLE = "pipeline_not_loadable"


class CallCode(StrEnum):
    """Why a call was answered with an error."""

    INVALID_CALL = "invalid_call"
    UNKNOWN_VERB = "unknown_verb"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"
    INTERNAL = "internal"


class Priority(StrEnum):
    """Which of the queues a run waits in; a worker empties them in this order."""

    HIGH = "high"
    DEFAULT = "default"
    LOW = "low"


class Role(StrEnum):
    """The services of a bus."""

    DISPATCHER = "dispatcher"
    RUNNER = "runner"
    RECORDER = "recorder"
    SCHEDULER = "scheduler"
