"""A bar that shows how far a run is, for a person at a terminal."""

import sys
from typing import Any

from hamilton.plugins.h_rich import RichProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBar(RichProgressBar):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Hamilton's bar on stderr, anew for each run; nothing where stderr is no terminal."""

    def run_before_graph_execution(self, **run: Any) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns,
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            # What nodes print stays out of the bar's lines, but goes where it belongs when stdout is a file.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task_based = False
        super().run_before_graph_execution(**run)

    def abandon(self) -> None:
        self._progress.stop()
