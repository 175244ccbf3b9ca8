"""What becomes of runs that are asked for once more: values in, decisions out."""

from datetime import datetime

import msgspec

from fpbus.schemas import Original, Replay, Replayed, replay_id
from fpbus.schemas.queue import RunJob

from .handlers import Admission, RefusedError, Rules, admit, request_again
from .ids import mint_run_id
from .ingress import traced
from .queue import Outcome


def judge(original: Original, asked: Replay, rules: Rules, now: datetime) -> Admission | Replayed:
    """Make a job of a replay, or say why it cannot be one. Nobody waits any more where the first was answered."""
    run_id = replay_id(original.run_id, asked.name)
    again = request_again(original.request, None, run_id)
    request = msgspec.structs.replace(again, reply_to=None, priority=asked.priority)
    try:
        return traced(admit(asked.pipeline, request, rules, now, mint_run_id, None, original.run_id))
    except RefusedError as refused:
        return Replayed(original=original.run_id, run_id=run_id, outcome="rejected", reason=str(refused))


def outcome_of(job: RunJob, outcome: Outcome) -> Replayed:
    """Say what the ledger said. Whatever has the id of a replay is that replay."""
    created = outcome.kind == "new"
    return Replayed(original=job.retry_of or "", run_id=job.run_id, outcome="created" if created else "there")
