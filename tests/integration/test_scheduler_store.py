"""What the store of schedules keeps, on both of its databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from fpbus.lifecycle import Settings, SettingsError
from fpbus.scheduler.database import Database, StoreError, schedules_url
from fpbus.scheduler.store import LEASE_S, NO_ERROR, LeaseLostError, Mark, Store, Stored, Version
from fpbus.schemas import RunSettings, ScheduleSpec
from support.waiting import wait_for

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sub/schedules.db"
    database: str = request.getfixturevalue("postgres_url")
    return database


@pytest.fixture
def open_store(url: str) -> Iterator[Any]:
    stores: list[Store] = []

    def make(holder: str = "one") -> Store:
        settings = Settings(schedules_url=url)
        stores.append(Store(Database(schedules_url(settings)), holder))
        stores[-1].open()
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: Any) -> Store:
    opened: Store = open_store()
    return opened


def a_spec(name: str = "tick", **fields: Any) -> ScheduleSpec:
    given: dict[str, Any] = {"interval": 60, "since": MONDAY, **fields}
    return ScheduleSpec(id=name, pipeline="tick", **given)


def put(store: Store, *specs: ScheduleSpec) -> None:
    with store.changes() as changes:
        changes.put(specs)


def test_what_is_put_is_there_when_it_is_opened_again(store: Store, open_store: Any) -> None:
    spec = a_spec(settings=RunSettings(inputs={"text": "größe \0", "list": [1, None]}), misfire="all")

    put(store, spec)

    assert open_store("two").get("tick") == Stored(spec, MONDAY)


def test_a_change_is_seen_by_its_version_alone(store: Store, open_store: Any) -> None:
    other: Store = open_store("two")
    put(store, a_spec("a"), a_spec("b"))
    seen = other.version()

    put(store, a_spec("b", misfire="all"))

    assert other.version() != seen
    assert [stored.spec.id for stored in other.changed_since(seen)] == ["b"]
    assert [stored.spec.id for stored in other.changed_since(Version())] == ["a", "b"]


def test_what_is_removed_is_counted_and_gone(store: Store) -> None:
    put(store, a_spec("a"), a_spec("b"))
    seen = store.version()

    with store.changes() as changes:
        changes.remove(["a", "never there"])

    assert store.version().removed != seen.removed
    assert store.ids() == {"b"}


def test_of_two_marks_the_later_one_counts(store: Store) -> None:
    put(store, a_spec())

    store.save([Mark("tick", MONDAY + 2 * MINUTE, MONDAY + 2 * MINUTE, "not_allowed: no\0")])
    store.save([Mark("tick", MONDAY + MINUTE, MONDAY + MINUTE, None), Mark("gone", MONDAY, None, None)])
    first = store.get("tick")
    store.save([Mark("tick", MONDAY + 3 * MINUTE, None, NO_ERROR)])

    assert first == Stored(a_spec(), MONDAY + 2 * MINUTE, MONDAY + 2 * MINUTE, "not_allowed: no\ufffd")
    assert store.get("tick") == Stored(a_spec(), MONDAY + 3 * MINUTE, MONDAY + 2 * MINUTE)


def test_a_changed_spec_goes_on_and_a_new_timing_begins_anew(store: Store) -> None:
    put(store, a_spec())
    store.save([Mark("tick", MONDAY + MINUTE, MONDAY + MINUTE, None)])

    put(store, a_spec(misfire="all"))
    same_timing = store.get("tick")
    put(store, a_spec(interval=30, since=MONDAY + 5 * MINUTE))
    new_timing = store.get("tick")

    assert same_timing is not None
    assert same_timing.fired_until == MONDAY + MINUTE
    assert new_timing is not None
    assert new_timing.fired_until == MONDAY + 5 * MINUTE


def test_what_fails_half_way_changes_nothing(store: Store) -> None:
    seen = store.version()

    def fail_half_way() -> None:
        with store.changes() as changes:
            changes.put([a_spec()])
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()

    assert (store.ids(), store.version()) == (set(), seen)


def test_one_holder_answers_until_it_lets_go_or_is_silent(store: Store, open_store: Any) -> None:
    other: Store = open_store("two")

    held = [store.hold_lease(), other.hold_lease(), store.hold_lease()]
    with pytest.raises(LeaseLostError), other.changes(answering=True) as changes:
        changes.put([a_spec()])
    store.release_lease()
    after_release = [other.hold_lease(), store.hold_lease()]
    wait_for(store.hold_lease, LEASE_S + 5, "the silence of the other one")

    assert held == [True, False, True]
    assert after_release == [True, False]
    assert store.ids() == set()


def test_a_page_has_its_place_in_the_whole(store: Store) -> None:
    put(store, *(a_spec(name) for name in "cab"))

    page, total = store.list({"pipeline": "tick"}, 2, 1)

    assert ([stored.spec.id for stored in page], total) == (["b", "c"], 3)
    assert store.list({"pipeline": "tock"}, 2, 0) == ([], 0)


def test_a_file_that_was_taken_away_is_told(tmp_path: Path) -> None:
    store = Store(Database(sql.URL.create("sqlite", database=str(tmp_path / "schedules.db"))), "one")
    store.open()
    (tmp_path / "schedules.db").unlink()

    with pytest.raises(StoreError, match="cannot be used"):
        store.hold_lease()
    store.close()


def test_the_file_is_for_its_owner_only_and_durable(tmp_path: Path) -> None:
    database = Database(sql.URL.create("sqlite", database=str(tmp_path / "schedules.db")))
    database.open()

    with database.read() as connection:
        modes = [connection.execute(sql.text(f"pragma {name}")).scalar() for name in ("journal_mode", "synchronous")]
    database.close()

    assert modes == ["wal", 2]
    assert (tmp_path / "schedules.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://"])
def test_a_url_that_cannot_be_used_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="FPBUS_SCHEDULES_URL cannot be used"):
        schedules_url(Settings(schedules_url=url))
