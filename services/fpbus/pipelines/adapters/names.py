"""Fill the placeholders in names of MLflow's experiments and runs. Nothing else can be reached from a name."""

import re
from datetime import datetime
from typing import Final

from fpbus.pipelines.scope import RunFacts

from .errors import AdapterError

_BRACES: Final = re.compile(r"\{([^{}]*)\}|[{}]")
_USUAL_FORMAT: Final = "%Y%m%d_%H%M%S"


def check_name(key: str, name: str) -> None:
    """Raise `AdapterError` for a placeholder that does not exist; `key` says where the name stands."""
    for braces in _BRACES.finditer(name):
        word, _, form = (braces[1] or "").partition(":")
        if word not in {"pipeline_name", "run_id", "timestamp"} or (form and word != "timestamp"):
            raise AdapterError(
                f"{key} is {name!r}, and {braces[0]} in it is no placeholder.",
                "There are {pipeline_name}, {run_id}, {timestamp} and {timestamp:%Y-%m-%d}.",
            )


def filled(name: str, facts: RunFacts, now: datetime) -> str:
    """Return the name for one run; `{timestamp}` is `now`, formatted as `strftime` does."""
    values = {"pipeline_name": facts.pipeline, "run_id": facts.run_id}

    def value(braces: re.Match[str]) -> str:
        word, _, form = braces[1].partition(":")
        return values.get(word) or now.strftime(form or _USUAL_FORMAT)

    return _BRACES.sub(value, name)
