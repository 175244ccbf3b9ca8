"""Make the adapters that `run.with_adapter` switches on."""

import difflib
import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hamilton.lifecycle.base import BaseDoBuildResult, BaseDoNodeExecute, BaseDoRemoteExecute

from fpbus.pipelines.scope import RunScope
from fpbus.schemas import RunConfig
from fpbus.schemas.adapters import AdapterConfig, CustomAdapterConfig

from .custom import changes_runs, import_adapter
from .errors import AdapterError
from .guard import guarded
from .names import check_name

_log: Final = logging.getLogger("fpbus.pipelines.adapters")

_NEEDS: Final = {
    "hamilton_tracker": ("hamilton_sdk", "ui"),
    "mlflow": ("mlflow", "mlflow"),
    "opentelemetry": ("opentelemetry.exporter.otlp.proto.grpc", "otlp"),
    "ray": ("ray", "ray"),
}
"""The module that an adapter needs, and the extra of fpbus that brings it."""

_NAMES: Final = ("hamilton_tracker", "mlflow", "opentelemetry", "progressbar", "ray", "future")
_EXECUTING: Final = ("ray", "future")


def make_adapters(
    run: RunConfig, settings: AdapterConfig, scope: RunScope, project: str, *, awaited: bool = False
) -> list[Any]:
    """Return the adapters that are on, for Hamilton's builder; `awaited` is for that of its async driver.

    Those that only listen are guarded, and left out with a warning when their package is not installed. Raises
    `AdapterError` for names that do not exist, classes that are no adapters, and executing adapters that cannot be.
    """
    _check_names(run, settings)
    names = [name for name, on in run.with_adapter.items() if on]
    made = [_make(name, settings, scope, project, awaited=awaited) for name in names]
    adapters = [adapter for adapter in made if adapter is not None]
    _check_executing(adapters, run, awaited=awaited)
    return adapters


def _check_names(run: RunConfig, settings: AdapterConfig) -> None:
    known = [*_NAMES, *settings.custom]
    for name in run.with_adapter:
        if name not in known and "." not in name:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}, and module.Class."
            raise AdapterError(f"run.with_adapter names {name!r}, and there is no such adapter.", hint)


def _make(name: str, settings: AdapterConfig, scope: RunScope, project: str, *, awaited: bool) -> Any:
    if name in settings.custom or name not in _NAMES:
        return _custom(name, settings.custom.get(name) or CustomAdapterConfig(type=name), scope, awaited=awaited)
    if not _installed(name):
        return None
    try:
        if name in _EXECUTING:
            return _executing(name, settings)
        kind, make = _listening(name, settings, scope, project)
    except ImportError as error:
        return _left_out(name, f"cannot be imported: {error}", error)
    return guarded(name, kind, make, scope, awaited=awaited)


def _custom(name: str, config: CustomAdapterConfig, scope: RunScope, *, awaited: bool) -> Any:
    kind = import_adapter(name, config.type)
    make = partial(kind, **config.options)
    if not changes_runs(kind):
        return guarded(name, kind, make, scope, awaited=awaited)
    try:
        return make()
    except Exception as error:
        # The user's class raises what it likes; without it the run would not be what was asked for.
        raise AdapterError(f"The adapter {name!r} cannot be made: {type(error).__name__}: {error}") from error


def lacking_extra(name: str) -> str | None:
    """Return the extra of fpbus that would bring an adapter's package; None when it is there."""
    module, extra = _NEEDS.get(name, ("", ""))
    return None if not module or _found(module) else extra


def _installed(name: str) -> bool:
    """Tell whether an adapter's package is there; raise `AdapterError` if the run cannot do without it."""
    extra = lacking_extra(name)
    if extra is None:
        return True
    _left_out(name, f"not installed: pip install 'fpbus[{extra}]'")
    return False


def _left_out(name: str, why: str, error: Exception | None = None) -> None:
    """Warn of an adapter that a run can do without; raise `AdapterError` for one that it cannot."""
    if name in _EXECUTING:
        raise AdapterError(f"The adapter {name} is on but {why}.") from error
    _log.warning("adapter %s is on but %s", name, why, extra={"adapter": name})


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _listening(name: str, settings: AdapterConfig, scope: RunScope, project: str) -> tuple[type, Callable[[], Any]]:
    """Return the class of an adapter and what makes it. Their libraries are imported here, where they are wanted."""
    if name == "hamilton_tracker":
        from .tracker import Tracker, make_tracker

        return Tracker, partial(make_tracker, settings.hamilton_tracker, scope)
    if name == "mlflow":
        from .mlflow_runs import MlflowRuns

        for key in ("experiment_name", "run_name"):
            check_name(f"adapter.mlflow.{key}", getattr(settings.mlflow, key) or "")
        return MlflowRuns, partial(MlflowRuns, settings.mlflow, scope)
    if name == "opentelemetry":
        from .spans import RunSpans

        return RunSpans, partial(RunSpans, settings.opentelemetry, scope, project)
    from .progress import ProgressBar

    return ProgressBar, ProgressBar


def _executing(name: str, settings: AdapterConfig) -> Any:
    if name == "ray":
        from .ray_graph import RayGraph

        return RayGraph(settings.ray)
    from .threads import Futures

    return Futures()


def _check_executing(adapters: list[Any], run: RunConfig, *, awaited: bool) -> None:
    """Raise `AdapterError` where more than one part of a run wants to say how its nodes are executed."""
    kinds = (BaseDoRemoteExecute, BaseDoNodeExecute, BaseDoBuildResult)
    parts = [f"the adapter {type(adapter).__name__}" for adapter in adapters if isinstance(adapter, kinds)]
    if parts and awaited:
        parts.append("the async driver")
    if parts and run.executor.type not in {"local", "synchronous"}:
        parts.append(f"the executor {run.executor.type}")
    if len(parts) > 1:
        sentence = f"A run's nodes are executed by one thing only, but {' and '.join(parts)} are switched on."
        raise AdapterError(sentence, "Keep one of them.")
