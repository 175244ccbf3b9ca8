"""The run that a driver is busy with: what adapters and hooks may know of it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fpbus.schemas import RunConfig

from .nodes import NodeReport


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one run. `attempt` counts from 1."""

    run_id: str
    pipeline: str
    attempt: int
    inputs: Mapping[str, Any]
    config: Mapping[str, Any]
    final_vars: list[str]
    traceparent: str | None = None

    @classmethod
    def of(
        cls, pipeline: str, run: RunConfig, run_id: str, attempt: int, *, traceparent: str | None = None
    ) -> "RunFacts":
        return cls(
            run_id=run_id,
            pipeline=pipeline,
            attempt=attempt,
            inputs=run.inputs,
            config=run.config,
            final_vars=run.final_vars,
            traceparent=traceparent,
        )


class RunScope:
    """Holds the facts of the attempt that its driver makes now; a driver makes one at a time."""

    def __init__(self) -> None:
        self.facts = RunFacts(run_id="", pipeline="", attempt=0, inputs={}, config={}, final_vars=[])
        self.report: Callable[[NodeReport], None] = ignore
        self.failed_node: str | None = None

    def begin(self, facts: RunFacts, report: Callable[[NodeReport], None]) -> None:
        self.facts = facts
        self.report = report
        self.failed_node = None


def ignore(_report: NodeReport) -> None:
    """Stand in when nobody wants to hear of nodes."""
