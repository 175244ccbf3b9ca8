"""Tells the bus what the pipelines take and give, at the start and whenever the project has changed."""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fpbus.bus import Bus, TransportStoppedError
from fpbus.project import ProjectError, load_pipelines
from fpbus.schemas import topics

from .stable import Stable, TetheredHorse

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 60.0


class Describing:
    """Publishes a retained schema for each pipeline that can be loaded, on a thread of its own."""

    def __init__(self, bus: Bus, stable: Stable, folder: Path) -> None:
        self._bus = bus
        self._stable = stable
        self._folder = folder
        self._wanted = threading.Event()
        self._stopped = False
        self._told: dict[str, bytes] = {}
        self._thread = threading.Thread(target=self._serve, name="describing", daemon=True)
        bus.on_session(self._on_session)

    def start(self) -> None:
        self._wanted.set()
        self._thread.start()

    def again(self) -> None:
        """Look at the project anew."""
        self._wanted.set()

    def stop(self) -> None:
        self._stopped = True
        self._wanted.set()

    def _on_session(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        if not session_present and self._told:  # the broker may have forgotten what it retained
            self._told = dict.fromkeys(self._told, b"")
            self._wanted.set()

    def _serve(self) -> None:
        while self._wanted.wait() and not self._stopped:
            self._wanted.clear()
            try:
                self._tell_all()
            except TransportStoppedError:
                return
            except Exception:
                log.exception("could not tell what the pipelines take")

    def _tell_all(self) -> None:
        try:
            names = sorted(load_pipelines(self._folder))
        except ProjectError:
            return  # the last good ones are in use
        for gone in self._told.keys() - set(names):
            self._tell(gone, b"")
            del self._told[gone]
        for name, schema in self._described(names):
            self._tell(name, schema)

    def _tell(self, name: str, schema: bytes) -> None:
        if self._told.get(name) != schema:
            self._told[name] = schema
            self._bus.publish(topics.schema(name), schema, retain=True)

    def _described(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each pipeline with its schema, or with nothing where its import fails, hangs, or ends the process."""
        pending = list(names)
        while pending and not self._stopped:
            child = self._stable.describe(pending)
            try:
                schema: bytes | None = b""
                while pending and schema is not None:
                    schema = _next(child)
                    yield pending.pop(0), schema or b""
            finally:
                child.kill()


def _next(child: TetheredHorse) -> bytes | None:
    try:
        return child.pipe.recv_bytes() if child.pipe.poll(_PATIENCE_S) else None
    except (EOFError, OSError):
        return None
