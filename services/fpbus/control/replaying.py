"""Running again what the history has, page by page: asked of the recorder, made by the dispatcher."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from fpbus.bus import NoAnswerError
from fpbus.schemas import ListOriginals, Original, Originals, Priority, Replay, Replayed, ReplayStep, Role, replay_id

from .steering import Ask

#: How long a step waits for a dispatcher that has gone, until it is back or another has its place.
_PATIENCE_S: Final = 30.0


class ReplayPage(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a replay: what became of some runs, in order, and when the last of them was accepted."""

    runs: list[Replayed]
    at: datetime


def replay(ask: Ask, wanted: ListOriginals, priority: Priority, *, dry: bool) -> Iterator[ReplayPage]:
    """Replay step by step; `dry` only says what would be created."""
    while True:
        page = ask(Role.RECORDER, "list_originals", wanted, Originals)
        if page.runs:
            yield ReplayPage(runs=_replayed(ask, wanted, priority, page.runs, dry=dry), at=page.runs[-1].at)
        if page.behind is None:
            return
        wanted = msgspec.structs.replace(wanted, behind=page.behind)


def _replayed(
    ask: Ask, wanted: ListOriginals, priority: Priority, originals: list[Original], *, dry: bool
) -> list[Replayed]:
    """Create the replays that the history has not. The dispatcher knows those that it is about to have."""
    told = {each.run_id: _guess(each, wanted.name) for each in originals}
    missing = [each for each in originals if not each.replayed]
    if missing and not dry:
        asked = Replay(pipeline=wanted.pipeline, runs=missing, name=wanted.name, priority=priority)
        told |= {each.original: each for each in _insist(ask, asked).runs}
    return list(told.values())


def _guess(original: Original, name: str) -> Replayed:
    run_id = replay_id(original.run_id, name)
    return Replayed(original=original.run_id, run_id=run_id, outcome="there" if original.replayed else "created")


def _insist(ask: Ask, asked: Replay) -> ReplayStep:
    """Ask until the dispatcher answers: to ask again makes no run twice."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask(Role.DISPATCHER, "replay", asked, ReplayStep)
        except NoAnswerError:
            if time.monotonic() > deadline:
                raise
