"""All that the history has of one run, for people."""

from typing import TYPE_CHECKING, Any

from .output import Columns, show_table, write
from .words import counted, duration, instant, moment, sentence_of, show_outputs

if TYPE_CHECKING:
    from fpbus.schemas import RunRecord

_TIMELINE: Columns = {
    "AT": lambda each: instant(each.at),
    "STATE": lambda each: str(each.state),
    "ATTEMPT": lambda each: str(each.attempt or ""),
    "RUNNER": lambda each: each.runner or "",
    "REASON": lambda each: each.reason or "",
}
_NODES: Columns = {
    "NODE": lambda node: node.node,
    "STATE": lambda node: f"{node.state}, from the cache" if node.cached else node.state,
    "AT": lambda node: instant(node.at),
    "DURATION": lambda node: duration(node.duration_s),
    "VALUE": lambda node: node.error or node.summary or "",
}


def show_record(record: "RunRecord") -> None:
    """Print a run: facts, then a table of each kind of thing that there is, and its log."""
    import msgspec

    from fpbus.schemas import Output

    _show_facts(record)
    _show(_TIMELINE, record.timeline)
    if record.request and record.request.inputs:
        inputs = record.request.inputs.items()
        write("")
        show_table(["INPUT", "VALUE"], [[name, msgspec.json.encode(value).decode()] for name, value in inputs])
    _show(_NODES, record.nodes)
    _show_log(record)
    if record.outputs:
        write("")
        show_outputs(msgspec.convert(record.outputs, dict[str, Output]))


def _show_facts(record: "RunRecord") -> None:
    import msgspec

    from fpbus.schemas import RunError
    from fpbus.schemas.plain import plain

    facts = {
        "run": record.run_id,
        "pipeline": record.pipeline,
        "state": str(record.state),
        "attempt": str(record.attempt),
        "accepted": moment(record.accepted_at),
        "started": moment(record.started_at),
        "finished": moment(record.finished_at),
        "duration": duration(record.duration_s),
        "runner": record.runner or "",
        "key": record.key or "",
        "retry of": record.retry_of or "",
        "after": record.after or "",
        "error": sentence_of(msgspec.convert(record.error, RunError)) if record.error else "",
    }
    for name, value in facts.items():
        if value:
            write(f"{name:<9} {plain(value)}")


def _show(columns: Columns, items: list[Any]) -> None:
    if items:
        write("")
        show_table(list(columns), [[cell(item) for cell in columns.values()] for item in items])


def _show_log(record: "RunRecord") -> None:
    from fpbus.schemas.plain import plain

    if record.log:
        write("")
    for line in record.log:
        write(f"{instant(line.at)} {plain(line.level):<8} {plain(line.text)}")
    if record.dropped:
        write("")
        write(f"({counted(record.dropped, 'node event or log line is', 'node events and log lines are')} not kept)")
