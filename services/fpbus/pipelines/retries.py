"""Which failures are tried again, how often, and after how long."""

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fpbus.schemas import RunConfig


class RetryRule(msgspec.Struct, frozen=True):
    """The rule of one run. `names` are exceptions by class or, where no such class can be found, by name."""

    most: int
    delay_s: float
    jitter: float
    backoff: float
    names: tuple[type[BaseException] | str, ...]

    @classmethod
    def of(cls, run: RunConfig, find: Callable[[str], Any] | None = None) -> "RetryRule":
        """Make the rule of a configuration. `find` looks up dotted names; by default it imports nothing."""
        names = tuple(_class_of(name, find or loaded) for name in run.retry_exceptions)
        return cls(run.max_retries, run.retry_delay, run.jitter_factor, run.backoff, names)

    def delay_after(self, tries: int, error: BaseException, chance: float) -> float | None:
        """Return the seconds until another try, after `tries` of them; None when there is none.

        `chance` is a number from -1 to 1, which becomes the jitter.
        """
        if tries > self.most or (self.names and not any(_means(name, error) for name in self.names)):
            return None
        return self.delay_s * self.backoff ** (tries - 1) * (1 + self.jitter * chance)


def imported(name: str) -> Any:
    """Find what a dotted name of the project's own files means, importing its module."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def loaded(name: str) -> Any:
    """Find what a dotted name means among what is imported already. A message's names go no further than here."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules[module], attribute)


def names_of(error: BaseException) -> Iterable[str]:
    """Return the names of an exception's classes, bare and dotted."""
    return {name for kind in type(error).__mro__ for name in (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")}


def _class_of(name: str, find: Callable[[str], Any]) -> type[BaseException] | str:
    if "." not in name:
        return name
    try:
        found = find(name)
    except Exception:
        # Whatever an import raises: the class may not exist on this machine, and then its name is all there is.
        return name
    return found if isinstance(found, type) and issubclass(found, BaseException) else name


def _means(name: type[BaseException] | str, error: BaseException) -> bool:
    if isinstance(name, str):
        return name in names_of(error) or name.rpartition(".")[2] in names_of(error)
    return isinstance(error, name)
