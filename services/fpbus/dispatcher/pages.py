"""Pages of what is in Redis, over one place after the other."""

from collections.abc import Iterator
from typing import Final

from fpbus.schemas import JobInfo, JobPage, ListJobs

from .jobs import Jobs, Place, Wanted

#: How many runs are looked at for one page, when most do not fit: some 50 ms.
LOOK_MOST: Final = 2_000


def page_of(jobs: Jobs, asked: ListJobs) -> JobPage:
    """Return a page. Runs come and go meanwhile, so that two pages may repeat one, or miss one."""
    wanted = Wanted(asked.queue, asked.state, asked.pipeline)
    places = jobs.places(wanted)
    sizes = jobs.sizes(places)
    found: list[JobInfo] = []
    at = asked.offset
    for place, within, count in _stretches(places, sizes, asked.offset, asked.limit):
        run_ids = jobs.ids(place, within, count, newest=asked.newest)
        known = jobs.look(run_ids)
        for run_id in run_ids:
            at += 1
            if run_id in known and wanted.fits(known[run_id]):
                found.append(known[run_id])
            if len(found) == asked.limit:
                return _page(found, at, sum(sizes))
        at += count - len(run_ids)  # it has become shorter
    return _page(found, at, sum(sizes))


def _page(found: list[JobInfo], at: int, total: int) -> JobPage:
    return JobPage(jobs=found, total=total, next_offset=at if at < total else None)


def _stretches(places: list[Place], sizes: list[int], offset: int, most: int) -> Iterator[tuple[Place, int, int]]:
    """Yield stretches of up to `most` from `offset` on: a place, where in it, and how many; `LOOK_MOST` in all."""
    left = LOOK_MOST
    for place, size in zip(places, sizes, strict=True):
        while offset < size and left > 0:
            count = min(most, size - offset, left)
            yield place, offset, count
            offset, left = offset + count, left - count
        offset -= size
