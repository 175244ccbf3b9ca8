"""What can be asked of the history: `fpbus/call/recorder/{list_runs,list_originals,show_run,stats}`."""

import contextlib
from collections.abc import Generator
from typing import Any

import sqlalchemy as sql

from fpbus.bus import CallError
from fpbus.schemas import (
    CallCode,
    CallFailure,
    ListOriginals,
    ListRuns,
    Originals,
    PipelineStats,
    RunRecord,
    ShowRun,
    Stats,
)

from . import history, originals
from .database import Database, DatabaseError


class HistoryCalls:
    """Answers from the database, on connections of their own: asking never holds up recording."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def verbs(self) -> dict[str, tuple[type[Any], Any]]:
        return {
            "list_runs": (ListRuns, self.list_runs),
            "list_originals": (ListOriginals, self.list_originals),
            "show_run": (ShowRun, self.show_run),
            "stats": (Stats, self.stats),
        }

    def list_runs(self, query: ListRuns) -> list[RunRecord]:
        with self._reading() as connection:
            try:
                return history.list_runs(connection, query)
            except LookupError:
                raise CallError(_not_found(query.older_than or "", "$.older_than")) from None

    def list_originals(self, query: ListOriginals) -> Originals:
        with self._reading() as connection:
            return originals.list_originals(connection, query)

    def show_run(self, query: ShowRun) -> RunRecord:
        with self._reading() as connection:
            found = history.show_run(connection, query.run_id)
        if found is None:
            raise CallError(_not_found(query.run_id, "$.run_id"))
        return found

    def stats(self, query: Stats) -> list[PipelineStats]:
        with self._reading() as connection:
            return history.stats(connection, query.pipeline, query.since)

    @contextlib.contextmanager
    def _reading(self) -> Generator[sql.Connection]:
        try:
            with self._database.read() as connection:
                yield connection
        except DatabaseError as error:
            raise CallError(CallFailure(code=CallCode.UNAVAILABLE, message=str(error))) from error


def _not_found(run_id: str, field: str) -> CallFailure:
    return CallFailure(
        code=CallCode.NOT_FOUND,
        message=f"The history has no run {run_id!r}.",
        hint="List the runs that it has: fpbus runs list",
        field=field,
    )
