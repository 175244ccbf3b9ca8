"""What of the history can be replayed: the runs of a pipeline with what they were asked for, page by page."""

from collections.abc import Collection, Iterator
from typing import Any, Final

import sqlalchemy as sql

from fpbus.schemas import ListOriginals, Original, Originals, Place, RunRequest, decode, replay_id
from fpbus.schemas.replays import MOST_REPLAYS

from .handlers import utc
from .history import runs

#: Characters of requests in one page; a single longer one is a page of its own.
PAGE_CHARS: Final = 256 * 1024
_NESTING: Final = 256  # they have passed the dispatcher's own limit


def list_originals(connection: sql.Connection, query: ListOriginals) -> Originals:
    """Return a page of runs, the oldest first, each with whether its replay is known."""
    columns = (runs.c.run_id, runs.c.at, runs.c.request)
    listing = sql.select(*columns).where(*_conditions(query)).order_by(runs.c.at, runs.c.run_id)
    listing = listing.limit(MOST_REPLAYS + 1).execution_options(yield_per=10)
    with connection.execute(listing) as found:
        lines = list(_page(found))
        more = found.fetchone() is not None or len(lines) > MOST_REPLAYS
    lines = lines[:MOST_REPLAYS]
    known = _known(connection, [replay_id(line.run_id, query.name) for line in lines])
    page = [
        Original(
            run_id=line.run_id,
            at=line.at,
            request=decode(line.request.encode(), RunRequest, None, _NESTING),
            replayed=replay_id(line.run_id, query.name) in known,
        )
        for line in lines
    ]
    return Originals(runs=page, behind=Place(at=page[-1].at, run_id=page[-1].run_id) if more else None)


def _page(lines: "sql.CursorResult[*tuple[Any, ...]]") -> Iterator[Any]:
    """Yield lines until a page is full."""
    chars = 0
    while chars < PAGE_CHARS and (line := lines.fetchone()) is not None:
        chars += len(line.request)
        yield line


def _known(connection: sql.Connection, run_ids: Collection[str]) -> set[str]:
    return set(connection.scalars(sql.select(runs.c.run_id).where(runs.c.run_id.in_(run_ids))))


def _conditions(query: ListOriginals) -> Iterator[sql.ColumnElement[bool]]:
    """Choose runs that have ended. One that repeats another is that one's replay, or its correction."""
    yield runs.c.pipeline == query.pipeline
    yield runs.c.at >= utc(query.since)
    yield runs.c.at <= utc(query.until)
    yield runs.c.finished_at.is_not(None)
    yield runs.c.retry_of.is_(None)
    yield runs.c.request.is_not(None)
    if query.key is not None:
        yield runs.c.key == query.key
    if query.behind is not None:
        at = utc(query.behind.at)
        yield sql.or_(runs.c.at > at, sql.and_(runs.c.at == at, runs.c.run_id > query.behind.run_id))
