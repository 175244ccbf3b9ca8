"""Nodes in threads, each as soon as its inputs are there."""

import contextvars
from functools import partial
from typing import Any

from hamilton import base
from hamilton.plugins.h_threadpool import FutureAdapter


class Futures(FutureAdapter):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Hamilton's adapter, whose threads know the run: what is logged and traced there belongs to it."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="future", result_builder=base.DictResult())

    def do_remote_execute(self, *, execute_lifecycle_for_node: Any, **node: Any) -> Any:
        within = partial(contextvars.copy_context().run, execute_lifecycle_for_node)
        return super().do_remote_execute(execute_lifecycle_for_node=within, **node)
