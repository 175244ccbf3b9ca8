"""Does everything agree: what the device sent and heard, what was said on the bus, what the recorder remembers."""

from collections.abc import Iterable

from fpbus.schemas import PipelineStats, RunRecord, RunState

from .story import CLIMATE, WEATHER, Run, Story
from .system import DeviceReport

WRONG_FIELD = "$.input"


def missing(
    story: Story, report: DeviceReport | str, records: Iterable[RunRecord], stats: Iterable[PipelineStats]
) -> list[str]:
    """Return a sentence for each thing that does not agree; none when everything does."""
    if isinstance(report, str):
        return [f"The device did not report. It said: {report or 'nothing.'}"]
    runs = story.of(WEATHER)
    good, wrong = [run for run in runs if not run.is_wrong], [run for run in runs if run.is_wrong]
    remembered = {record.run_id for record in records if record.state is RunState.SUCCEEDED}
    counts = {one.pipeline: one.runs for one in stats}
    figures = {
        "messages on the bus": (len(runs), report.published),
        "wrong messages": (len(wrong), 1),
        "results at the device": (report.results, len(good)),
        "rejections at the device": (report.rejections, len(wrong)),
        "successful runs in the history": (len(remembered), len(good)),
        "runs in the recorder's statistics": (counts.get(WEATHER, 0), len(good)),
    }
    faults = [f"There are {found} {what}, not {due}." for what, (found, due) in figures.items() if found != due]
    faults += [fault for run in runs if (fault := _fault_of(run, remembered))]
    return faults if counts.get(CLIMATE) else [*faults, "The scheduler's runs are not in the history."]


def _fault_of(run: Run, remembered: set[str]) -> str | None:
    if run.is_wrong:
        told = run.rejection is not None and run.rejection.field == WRONG_FIELD
        return None if told else f"Message {run.run_id} was not rejected for its field {WRONG_FIELD}."
    if run.result is None:
        return f"Run {run.run_id} has no result."
    if not run.succeeded:
        return f"Run {run.run_id} {run.result.state}."
    return None if run.run_id in remembered else f"Run {run.run_id} is not in the history."
