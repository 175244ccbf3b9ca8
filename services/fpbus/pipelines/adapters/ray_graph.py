"""Nodes on Ray. Imported only where the adapter is on: it needs the package `ray`."""

import os
import sys
from typing import Any

import ray
from hamilton import base
from hamilton.lifecycle.base import BasePreGraphExecute
from hamilton.plugins.h_ray import RayGraphAdapter

from fpbus.schemas.adapters import RayConfig


class RayGraph(RayGraphAdapter, BasePreGraphExecute):  # type: ignore[misc]  # Hamilton's classes are Any to us
    """Hamilton's adapter, for a driver that is kept: Ray is started for a run that finds it stopped."""

    def __init__(self, config: RayConfig) -> None:
        # Without its arguments the adapter does not start Ray, which a second driver here may have done.
        super().__init__(base.DictResult())
        self._config = config

    def pre_graph_execute(self, **_: Any) -> None:
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it tells its makers of each start
        ray.init(**{**_here(self._config.ray_init_config), **self._config.ray_init_config})

    def post_graph_execute(self, **_: Any) -> None:
        if self._config.shutdown_ray_on_completion:
            ray.shutdown()


def _here(config: dict[str, Any]) -> dict[str, Any]:
    """Return what lets the workers of a Ray on this machine import the pipeline. A cluster has paths of its own."""
    if "address" in config:
        return {}
    return {"runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}}}
