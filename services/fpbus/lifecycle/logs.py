"""Log lines: a short past-tense event, facts as fields. Readable on a terminal, JSON elsewhere when asked."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

from fpbus.schemas.plain import plain, plain_json

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Console(logging.Formatter):
    """One line for each event, whatever its text holds; a traceback below it is set in, to be taken for none."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        facts = "".join(f" {name}={value}" for name, value in _facts(record).items())
        text = f"{at} {record.levelname.lower():<7} {record.name.removeprefix('fpbus.')}: {record.getMessage()}{facts}"
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        return "\n  ".join([plain(text), *plain(trace, lines=True).splitlines()])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return plain_json(msgspec.json.encode(line, enc_hook=str).decode())
        except UnicodeEncodeError:  # half a character, which only escapes can carry
            return json.dumps(line, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def configure(level: str, style: str) -> None:
    """Send all logs of this process to standard error, as `console` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Console())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("apscheduler", "fsspec", "hamilton", "transitions"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
