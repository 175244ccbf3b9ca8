"""What a run in the foreground says on standard error while it goes on, and at its end."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, Self, TextIO

from fpbus.cli.output import tell
from fpbus.cli.words import duration

from .failures import in_short

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from fpbus.pipelines import NodeReport, PipelineFailedError

_SHORT_S: Final = 0.5


class Narrator:
    """Counts nodes, tells of tries that failed, and shows a bar when a run takes its time and somebody looks."""

    def __init__(self, pipeline: str, count_nodes: Callable[[], int], *, quiet: bool, bar: bool) -> None:
        self._pipeline = pipeline
        self._count_nodes = count_nodes
        self._quiet = quiet
        self._has_bar = bar and not quiet
        self._started = time.perf_counter()
        self._done = 0
        self._cached = 0
        self._tries = 1
        self._bar: Bar | None = None

    def hear(self, report: "NodeReport") -> None:
        """Take a report of a node, from whichever thread it was run in."""
        if report.duration_s is not None and report.error is None:
            self._done += 1
            self._cached += report.cached
        if self._bar is not None:
            self._bar.move(report.node, self._done)

    def hear_failure(self, failed: "PipelineFailedError", delay_s: float) -> None:
        """Tell of a try after which there is another one."""
        reason = f"{in_short(failed.cause)}{at_node(failed)}"
        tell(f"attempt {self._tries} failed: {reason}; trying again in {delay_s:.3g} s")
        self._tries += 1
        self._done = self._cached = 0

    def tell_end(self, word: str) -> None:
        """Tell how the run ended, in one line."""
        if not self._quiet:
            cached = f" and {self._cached} from the cache" if self._cached else ""
            tries = f", {self._tries} attempts" if self._tries > 1 else ""
            count = self._done - self._cached
            nodes = f"{count} {'node' if count == 1 else 'nodes'}{cached}{tries}"
            tell(f"{self._pipeline} {word}: {nodes}, {duration(time.perf_counter() - self._started)}")

    @contextlib.contextmanager
    def watching(self) -> Generator[None]:
        """Show a bar from half a second on, if this is a terminal."""
        if not self._has_bar or not sys.stderr.isatty():
            yield
            return
        with Bar(self._pipeline, self._count_nodes) as self._bar:
            yield
        self._bar = None


class Bar:
    """A progress bar that appears late, so that a short run neither flickers nor loads rich."""

    def __init__(self, title: str, count_nodes: Callable[[], int]) -> None:
        self._title = title
        self._count_nodes = count_nodes
        self._lock = threading.Lock()
        self._timer = threading.Timer(_SHORT_S, self._show)
        self._timer.daemon = True
        self._shown: tuple[Progress, TaskID] | None = None
        self._ended = False
        self._node = ""
        self._done = 0

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._shown is not None:
                bar = sys.stderr
                self._shown[0].stop()
                _point_logs_to_stderr(bar)

    def move(self, node: str, done: int) -> None:
        """Say which node is at work, and how many are done."""
        from fpbus.schemas.plain import plain

        self._node, self._done = plain(node), done
        if self._shown is not None:
            progress, task = self._shown
            progress.update(task, completed=done, node=self._node, total=max(done, progress.tasks[0].total or 0))

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._ended:
                return
            progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[node]}", markup=False),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            total = max(self._count_nodes(), self._done)
            task = progress.add_task(self._title, total=total, completed=self._done, node=self._node)
            straight = sys.stderr
            progress.start()
            _point_logs_to_stderr(straight)
            self._shown = progress, task


def at_node(failed: "PipelineFailedError") -> str:
    return f" (node {failed.node})" if failed.node else ""


def _point_logs_to_stderr(before: TextIO) -> None:
    """Have log lines go where standard error goes now, as rich has put itself in its way, or has left it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(sys.stderr)
