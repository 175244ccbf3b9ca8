"""A log level for one run: other runs of the process do not notice."""

import logging
import threading
from collections.abc import Iterator

import pytest

from fpbus.pipelines.log_level import log_level

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class Kept(logging.Handler):
    """Keeps what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname}")


@pytest.fixture
def kept() -> Iterator[Kept]:
    root, handler = logging.getLogger(), Kept()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def log_everything(name: str) -> None:
    for level in LEVELS:
        logging.getLogger(name).log(level, "a line")


def levels_of(kept: Kept, name: str) -> list[str]:
    return [line.split()[1] for line in kept.lines if line.startswith(f"{name} ")]


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("ERROR", ["ERROR"]),
        ("error", ["ERROR"]),
        (None, ["INFO", "WARNING", "ERROR"]),
    ],
)
def test_a_level_holds_inside_and_is_gone_afterwards(kept: Kept, level: str | None, logged: list[str]) -> None:
    with log_level(level):
        log_everything("inside")
    log_everything("after")

    assert levels_of(kept, "inside") == logged
    assert levels_of(kept, "after") == ["INFO", "WARNING", "ERROR"]
    assert (logging.getLogger().level, kept.filters) == (logging.INFO, [])


def test_runs_side_by_side_each_have_their_own(kept: Kept) -> None:
    meet = threading.Barrier(3)

    def run(level: str | None) -> None:
        with log_level(level):
            meet.wait(10)
            log_everything(f"run.{level}")
            meet.wait(10)

    threads = [threading.Thread(target=run, args=(level,)) for level in ("DEBUG", "ERROR", None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert levels_of(kept, "run.DEBUG") == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert levels_of(kept, "run.ERROR") == ["ERROR"]
    assert levels_of(kept, "run.None") == ["INFO", "WARNING", "ERROR"]
    assert (logging.getLogger().level, kept.filters) == (logging.INFO, [])


def test_the_root_is_lowered_only_as_long_as_needed(kept: Kept) -> None:
    levels: list[int] = []
    with log_level("ERROR"):
        levels.append(logging.getLogger().level)
        with log_level("DEBUG"):
            levels.append(logging.getLogger().level)
        levels.append(logging.getLogger().level)

    assert levels == [logging.INFO, logging.DEBUG, logging.INFO]
    assert kept.filters == []


def test_a_logger_with_a_level_of_its_own_is_not_muted_by_another_run(kept: Kept) -> None:
    logging.getLogger("chatty").setLevel(logging.DEBUG)
    began, done = threading.Event(), threading.Event()

    def run() -> None:
        with log_level("DEBUG"):
            began.set()
            done.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(10)
    log_everything("chatty.below")
    log_everything("quiet")
    done.set()
    thread.join()
    logging.getLogger("chatty").setLevel(logging.NOTSET)

    assert levels_of(kept, "chatty.below") == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert levels_of(kept, "quiet") == ["INFO", "WARNING", "ERROR"]


def test_a_run_that_fails_leaves_nothing_behind(kept: Kept) -> None:
    with pytest.raises(ValueError, match="inside"), log_level("DEBUG"):
        raise ValueError("inside")

    assert (logging.getLogger().level, kept.filters) == (logging.INFO, [])
