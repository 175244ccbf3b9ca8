"""RQ's Job with an allow list of one, for those who read our queues with RQ's own classes.

RQ calls any importable name that it finds in Redis, callbacks included. This class calls `fpbus.runner.execute`
and nothing else. Our own runner does not need it: it never looks a name up.
"""

from collections.abc import Callable
from typing import Any

from rq.job import Job

from fpbus.schemas.queue import JOB_FUNCTION, ForeignJobError


class AllowListedJob(Job):
    """A job that names our one function, or is refused."""

    @property
    def func(self) -> Callable[..., Any] | None:
        if self.func_name != JOB_FUNCTION or self.instance is not None:
            raise ForeignJobError(f"The job {self.id} names {self.func_name!r}; only {JOB_FUNCTION} is run.")
        from . import execute

        return execute

    @property
    def success_callback(self) -> None:
        self._refuse_callback(self._success_callback_name)

    @property
    def failure_callback(self) -> None:
        self._refuse_callback(self._failure_callback_name)

    @property
    def stopped_callback(self) -> None:
        self._refuse_callback(self._stopped_callback_name)

    def _refuse_callback(self, name: Any) -> None:
        if isinstance(name, str) and name:
            raise ForeignJobError(f"The job {self.id} names the callback {name!r}; callbacks are never called.")
