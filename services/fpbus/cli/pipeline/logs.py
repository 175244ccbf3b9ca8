"""What is logged in a foreground run goes to standard error, below what the pipeline prints."""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Final, get_args

from fpbus.cli.options import Level
from fpbus.cli.settings import settings_of

if TYPE_CHECKING:
    from fpbus.pipelines import Project

_LINE: Final = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(project: "Project") -> None:
    """Log as the environment and the project say, by default from INFO on.

    The services' own way of logging brings along the bus, for which a run that needs none would wait.
    """
    level = (os.environ.get("FPBUS_LOG_LEVEL") or project.config.log_level or "INFO").upper()
    style = os.environ.get("FPBUS_LOG_FORMAT") or project.config.log_format or "console"
    if style == "console" and level in get_args(Level):
        formatter = _Plain(_LINE, "%H:%M:%S")
        formatter.converter = time.gmtime
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        logging.basicConfig(level=level, handlers=[handler], force=True)
    else:
        _as_services_do(project)
    logging.getLogger("hamilton").setLevel(logging.CRITICAL)  # its own account of what is told here anyway
    for chatty in ("asyncio", "fsspec"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Plain(logging.Formatter):
    """Writes out what a terminal would obey; a line may have come with an input."""

    def format(self, record: logging.LogRecord) -> str:
        from fpbus.schemas.plain import plain

        return plain(super().format(record), lines=True)


def _as_services_do(project: "Project") -> None:
    """Log as JSON; raise `SettingsError` for a level or a form that there is not."""
    from fpbus.lifecycle import configure_logs

    settings = settings_of(str(project.folder))
    configure_logs(settings.log_level, settings.log_format)
