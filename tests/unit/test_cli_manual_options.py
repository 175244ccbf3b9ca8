"""Every option that FlowerPower's manual lists for jobs, schedules and the job queue is an option here."""

from collections.abc import Mapping
from typing import Any, Final, get_args

import pytest
import typer

from fpbus.cli.job_queue.jobs import StateName
from fpbus.cli.main import app
from fpbus.cli.options import Format

RUN: Final = (
    *("--inputs", "--final-vars", "--config", "--cache", "--executor", "--with-adapter"),
    *("--max-retries", "--retry-delay", "--jitter-factor", "--log-level"),
)
#: All commands of the job queue have these.
COMMON: Final = ("--type", "--name", "--base-dir")

MANUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "pipeline run": (*RUN, "--base-dir"),
    "pipeline add_job": (*RUN, "--run-at", "--run-in", "--base-dir"),
    "pipeline run_job": (*RUN, "--base-dir"),
    "pipeline schedule": (*RUN, "--cron", "--interval", "--date", "--schedule-id", "--overwrite", "--base-dir"),
    "pipeline schedule_all": ("--executor", "--overwrite", "--base-dir"),
    "job-queue start-worker": ("--num-workers", "--background", "--log-level", "--queue-names", "--job-executor"),
    "job-queue start-scheduler": ("--background", "--interval", "--log-level"),
    "job-queue show-jobs": ("--format", "--queue-name", "--state"),
    "job-queue show-job-ids": ("--queue-name", "--state"),
    "job-queue cancel-job": ("--all", "--queue-name"),
    "job-queue delete-job": ("--all", "--queue-name"),
    "job-queue show-schedules": ("--format",),
    "job-queue show-schedule-ids": (),
    "job-queue cancel-schedule": ("--all",),
    "job-queue delete-schedule": ("--all",),
    "job-queue pause-schedule": ("--all",),
    "job-queue resume-schedule": ("--all",),
}


@pytest.mark.parametrize("command", MANUAL)
def test_a_command_of_the_manual_has_all_its_options(command: str) -> None:
    common = COMMON if command.startswith("job-queue") else ()

    assert {*MANUAL[command], *common} - _options(command) == set()


def test_the_states_and_formats_of_the_manual_can_be_asked_for() -> None:
    assert set(get_args(StateName)) >= {"queued", "started", "finished", "failed", "all"}
    assert set(get_args(Format)) == {"table", "json", "yaml"}


def _command(words: str) -> Any:
    found: Any = typer.main.get_command(app)
    for word in words.split():
        found = found.get_command(None, word)
        assert found is not None, f"there is no {words}"
    return found


def _options(words: str) -> set[str]:
    return {name for one in _command(words).params for name in (*one.opts, *one.secondary_opts)}
