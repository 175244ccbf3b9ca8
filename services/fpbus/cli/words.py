"""Runs and their events in words for people."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from .output import show_table, tell

if TYPE_CHECKING:
    from fpbus.control import RunEvent
    from fpbus.schemas import NodeEvent, Output, RunError, RunResult, RunStatus


def lines_of(event: "RunEvent") -> list[str]:
    """Say what happened; a batch of log lines is as many lines, each marked with a bar."""
    from fpbus.schemas import LogLines, NodeEvent, RunResult
    from fpbus.schemas.plain import plain

    if isinstance(event, LogLines):
        lost = [f"| ({event.dropped} lines were dropped)"] if event.dropped else []
        return lost + [f"| {plain(line.text)}" for line in event.lines]
    if isinstance(event, NodeEvent):
        return [plain(_of_node(event))]
    return [plain(_of_result(event) if isinstance(event, RunResult) else _of_status(event))]


def duration(seconds: float | None) -> str:
    """Write a duration with its unit: `5 ms`, `1.2 s`, `3 min 20 s`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def counted(number: int, one: str, many: str) -> str:
    """Write `1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else many}"


def moment(at: datetime | None) -> str:
    """Write a time in UTC, to the second; nothing for None."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def instant(at: datetime) -> str:
    """Write a time in UTC, to the millisecond."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}Z"


def sentence_of(error: "RunError") -> str:
    kind = f"{error.type}: " if error.type else ""
    node = f" (node {error.node})" if error.node else ""
    return f"{kind}{error.message}{node}"


def say_end(result: "RunResult", say: Callable[[str], None]) -> None:
    """Say how a run ended in one line, below the traceback if there is one."""
    if result.error and result.error.traceback:
        tell(result.error.traceback.rstrip())
    say(lines_of(result)[0])


def show_outputs(outputs: "dict[str, Output]") -> None:
    if outputs:
        show_table(["OUTPUT", "VALUE"], [[name, _of_output(output)] for name, output in outputs.items()])


def exit_of(result: "RunResult") -> typer.Exit:
    """Return the exit whose code says how the run ended."""
    return typer.Exit(_EXIT_CODES[result.state])


_EXIT_CODES = {"succeeded": 0, "failed": 1, "dead": 1, "cancelled": 6}


def _of_status(status: "RunStatus") -> str:
    if status.duplicate:
        return f"accepted before; it is {status.run_state or 'known'}"
    where = f" on {status.runner}" if status.runner else ""
    attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
    delay = f", not before {moment(status.not_before)}" if status.not_before else ""
    reason = f": {status.reason}" if status.reason else ""
    return f"{status.state}{where}{attempt}{delay}{reason}"


def _of_node(node: "NodeEvent") -> str:
    took = f" in {duration(node.duration_s)}" if node.duration_s is not None else ""
    took += ", from the cache" if node.cached else ""
    detail = node.error or node.summary
    return f"  {node.node} {node.event}{took}" + (f": {detail}" if detail else "")


def _of_result(result: "RunResult") -> str:
    took = f" in {duration((result.finished_at - result.started_at).total_seconds())}" if result.started_at else ""
    error = f": {sentence_of(result.error)}" if result.error else ""
    return f"{result.state}{took}{error}"


def _of_output(output: "Output") -> str:
    import msgspec

    if output.json is not msgspec.UNSET:
        return msgspec.json.encode(output.json).decode()
    facts: list[Any] = [output.format, output.bytes and f"{output.bytes} bytes", output.summary]
    return f"{output.ref} ({', '.join(str(fact) for fact in facts if fact)})"
