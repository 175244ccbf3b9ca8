"""A run that has ended, as the history tells it, is as good as its result."""

from datetime import datetime

import msgspec

from fpbus.schemas import TERMINAL, RunRecord, RunResult


def result_of(record: RunRecord) -> RunResult | None:
    """Return the result that a record was made of; None while the run goes on."""
    if record.state not in TERMINAL or record.finished_at is None:
        return None
    fields = msgspec.to_builtins(record, builtin_types=(datetime,))
    return msgspec.convert({"accepted_at": record.finished_at, **fields}, RunResult)
