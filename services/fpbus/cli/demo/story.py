"""What an onlooker hears on the bus, put together run by run. Times are those of hearing."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.schemas import NodeEvent, Recorded, Rejection, RunResult, RunState, RunStatus, decode, topics

WEATHER: Final = "weather"
CLIMATE: Final = "climate"

Said = RunStatus | NodeEvent | RunResult | Rejection | Recorded


@dataclass
class Run:
    """One run, from the message that asked for it on."""

    run_id: str
    pipeline: str
    request: dict[str, Any]
    payload: bytes
    published_at: datetime
    accepted_at: datetime | None = None
    nodes: set[str] = field(default_factory=set[str])
    result: RunResult | None = None
    result_at: datetime | None = None
    recorded_at: datetime | None = None
    rejection: Rejection | None = None

    @property
    def told(self) -> bool:
        """Is there nothing more to come."""
        return self.recorded_at is not None or self.rejection is not None

    @property
    def is_wrong(self) -> bool:
        """Is this the message with the mistake, which says `input` where it should say `inputs`."""
        return "input" in self.request

    @property
    def succeeded(self) -> bool:
        return self.result is not None and self.result.state is RunState.SUCCEEDED


class Story:
    """All runs that were heard of, by run id, in the order of their messages."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def of(self, pipeline: str) -> list[Run]:
        return [run for run in self.runs.values() if run.pipeline == pipeline]

    @property
    def complete(self) -> bool:
        """Is every message of the device answered, and at least one run of the scheduler remembered."""
        return all(run.told for run in self.of(WEATHER)) and any(run.told for run in self.of(CLIMATE))

    def hear(self, topic: str, payload: bytes, at: datetime) -> list[tuple[Run, Said | None]]:
        """Take a message; return each run that it is about and what it says. None is the request itself.

        A repeat changes nothing, and is not returned.
        """
        pipeline = topics.pipeline_of_run_topic(topic)
        if pipeline is not None:
            return self._on_request(pipeline, payload, at)
        if topic == topics.RECORDED:
            return self._on_recorded(decode(payload, Recorded), at)
        parts = topic.split("/")  # pipelines/weather/rejected, pipelines/weather/runs/{run}/nodes/{node}
        kind = _KINDS.get(parts[min(4, len(parts) - 1)])
        said = decode(payload, kind) if kind else None
        run = self._run_of(said)
        return [(run, said)] if run and said and _note(run, said, at) else []

    def _on_request(self, pipeline: str, payload: bytes, at: datetime) -> list[tuple[Run, Said | None]]:
        request: dict[str, Any] = msgspec.json.decode(payload)
        run = Run(request["run_id"], pipeline, request, payload, at)
        return [(run, None)] if self.runs.setdefault(run.run_id, run) is run else []

    def _on_recorded(self, recorded: Recorded, at: datetime) -> list[tuple[Run, Said | None]]:
        runs = [self.runs[receipt.run_id] for receipt in recorded.receipts if receipt.run_id in self.runs]
        news = [run for run in runs if run.recorded_at is None]
        for run in news:
            run.recorded_at = at
        return [(run, recorded) for run in news]

    def _run_of(self, said: Said | None) -> Run | None:
        """A rejection names its message by a digest: a message that cannot be read has no run id."""
        if isinstance(said, Rejection):
            return next((run for run in self.runs.values() if _digest(run.payload) == said.digest), None)
        return self.runs.get(said.run_id) if said and not isinstance(said, Recorded) else None


_KINDS: Final[dict[str, type[RunStatus | NodeEvent | RunResult | Rejection]]] = {
    "status": RunStatus,
    "nodes": NodeEvent,
    "result": RunResult,
    "rejected": Rejection,
}


def _note(run: Run, said: Said, at: datetime) -> bool:
    """Add to a run what was said of it; False for a repeat."""
    match said:
        case RunStatus(state=RunState.ACCEPTED) if run.accepted_at is None:
            run.accepted_at = at
        case RunStatus(state=RunState.STARTED):
            pass
        case NodeEvent():
            run.nodes.add(said.node)
        case RunResult() if run.result is None:
            run.result, run.result_at = said, at
        case Rejection() if run.rejection is None:
            run.rejection = said
        case _:
            return False
    return True


def _digest(payload: bytes) -> str:
    return blake2b(payload, digest_size=16).hexdigest()
