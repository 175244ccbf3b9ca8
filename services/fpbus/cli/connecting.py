"""Find the bus that a command is meant for: environment, else the `fpbus up` of this project, else this machine."""

import contextlib
import logging
import os
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from .output import tell
from .profiles import settings_below
from .settings import settings_of

if TYPE_CHECKING:
    from fpbus.control import Control
    from fpbus.lifecycle import Settings


@contextlib.contextmanager
def connected(project: str | None = None, profile: str | None = None) -> "Generator[Control]":
    """Connect to the bus, or to the one that a profile is, and say goodbye at the end of the command."""
    from fpbus.control import Control
    from fpbus.lifecycle import loose_files

    settings = client_settings(project)
    if profile is not None:
        settings = settings_below(settings, profile)
    _quieten(settings)
    for warning in loose_files(settings):
        tell(f"Warning: {warning}")
    with Control.connect(settings) as control:
        try:
            yield control
        finally:
            for waiting, error in control.rejected:
                tell(f"The run {waiting.run_id} of {waiting.pipeline}, kept from before, was rejected: {error}")


def client_settings(project: str | None) -> "Settings":
    """Return the settings, with broker and Redis of a running `fpbus up` where none are set."""
    from fpbus.project import ProjectError, find_project
    from fpbus.supervisor import running

    settings = settings_of(project)
    try:
        up = None if settings.mqtt_url else running(find_project(settings.project_dir))
    except ProjectError:  # a command may be typed anywhere
        up = None
    return replace(settings, mqtt_url=up.mqtt_url, redis_url=settings.redis_url or up.redis_url) if up else settings


def _quieten(settings: "Settings") -> None:
    """Log nothing unless asked to: what matters to the person at the terminal is said in the errors."""
    from fpbus.lifecycle import configure_logs

    if os.environ.get("FPBUS_LOG_LEVEL"):
        configure_logs(settings.log_level, settings.log_format)
    else:
        logging.disable(logging.CRITICAL)
