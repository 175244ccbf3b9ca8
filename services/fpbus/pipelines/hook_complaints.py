"""What a hook without a say raises is logged, once per run and hook, and the run goes on."""

import logging
import threading
from typing import Any, Final

from .hook_search import Hook

_KEPT: Final = 1_000

_log: Final = logging.getLogger("fpbus.pipelines.hooks")

RAISED: Final = (Exception, SystemExit)
"""What a hook may raise without ending more than itself; `sys.exit()` in a hook is no reason to end a run."""


class Complaints:
    """Remembers of which hooks in which runs it has told. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str, str], None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process empty: there nothing has been told yet."""
        return Complaints, ()

    def tell(self, hook: Hook, run_id: str, error: BaseException) -> None:
        if self._is_new(run_id, hook):
            kind = type(error).__name__
            facts = {"hook": hook.name, "moment": hook.moment, "run_id": run_id}
            _log.warning("%s hook %s raised %s: %s", hook.moment, hook.tell(error), kind, error, extra=facts)

    def tell_left_out(self, hook: Hook, run_id: str, error: BaseException) -> None:
        if self._is_new(run_id, hook):
            facts = {"hook": hook.name, "moment": hook.moment, "run_id": run_id}
            _log.warning("%s hook %s cannot go to other processes: %s", hook.moment, hook.tell(), error, extra=facts)

    def _is_new(self, run_id: str, hook: Hook) -> bool:
        with self._lock:
            key = run_id, hook.moment, hook.name
            if key in self._told:
                return False
            self._told[key] = None
            if len(self._told) > _KEPT:
                del self._told[next(iter(self._told))]
            return True
