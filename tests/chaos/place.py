"""Where a scenario happens: servers and services of its own, in a folder that goes away."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
import redis as redis_py

from chaos.marks import Marks
from chaos.observer import Observer
from chaos.tally import TERMINAL, Evidence, Tally, tally
from support.device import Device
from support.servers import Broker, Redis, mosquitto, redis_server
from support.stack import Process, Stack

PIPELINES: Final = Path(__file__).parent / "pipelines"
_ENDED: Final = "select count(*) from runs where state in ('succeeded', 'failed', 'cancelled', 'dead')"

Tell = Callable[[str], None]


class Place:
    """A broker, a Redis, a project, and who asks for runs and watches. A run is named by its input: `c-7` has x = 7."""

    def __init__(self, folder: Path, seed: int, tell: Tell, *, shipped_broker: bool) -> None:
        self.folder = folder
        self.chance = Random(seed)
        self.tell = tell
        self.broker: Broker = mosquitto(folder / "mosquitto", tuned=not shipped_broker).start()
        self.redis: Redis = redis_server(folder / "redis").start()
        self.raw: Any = redis_py.Redis(port=self.redis.port)
        self.stack = Stack(folder / "stack", self.broker.url, self.redis.url)
        self.marks = Marks(self.stack.marks)
        for path in PIPELINES.glob("*.py"):
            params = f"params: {{marks: '{self.stack.marks}', seconds: 0.0}}"
            self.stack.add_pipeline(path.stem, path.read_text(), f"run: {{final_vars: [answer]}}\n{params}\n")
        self.observer = Observer(self.broker.port)
        self.device = Device(self.broker.url)
        self.asked: set[int] = set()
        self.promised: set[int] = set()
        self.recoveries: list[float] = []

    def close(self) -> None:
        self.observer.close()
        self.device.close()
        self.stack.stop()
        self.raw.close()
        self.broker.stop()
        self.redis.stop()

    def keep_logs(self, folder: Path) -> None:
        """Copy what the services and the pipelines have written."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*self.stack.folder.glob("*.log"), self.stack.marks):
            shutil.copy(path, folder)

    # Asking.

    def ask(self, x: int, pipeline: str = "task", *, named: bool = True, **inputs: Any) -> None:
        """Ask for a run as a device does, and say so to the checker."""
        self.asked.add(x)
        body: dict[str, Any] = {"inputs": {"x": x, **inputs}, "key": key_of(x)}
        if named:
            body["run_id"] = run_id_of(x)
        self.device.run(pipeline, body)

    def ask_all(self, numbers: Iterable[int], pipeline: str = "task", **inputs: Any) -> None:
        for x in numbers:
            self.ask(x, pipeline, **inputs)

    # Breaking.

    def process(self, role: str, *arguments: str, name: str | None = None, **environment: str) -> Process:
        """Start one more process of a service; it is stopped in the end. Its environment may differ."""
        made = self.stack.process(role, *arguments)
        made.environment = made.environment | environment
        self.stack.processes[name or role] = made
        return made.start()

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.stack.processes.items() if process.popen}

    def unharmed(self) -> bool:
        """Tell whether every service still runs."""
        return all(process.popen and process.popen.poll() is None for process in self.stack.processes.values())

    def memory_mb(self) -> dict[str, float]:
        """Return what each service holds, with its children."""
        return {name: round(sum(_resident(one) for one in _tree(pid)) / 1e6, 1) for name, pid in self.pids.items()}

    # Watching.

    def recorded(self) -> int:
        """Return how many runs have ended in the history."""
        with contextlib.suppress(sqlite3.OperationalError), self._history() as database:
            return int(database.execute(_ENDED).fetchone()[0])
        return 0

    @contextlib.contextmanager
    def _history(self) -> Generator[sqlite3.Connection]:
        path = self.stack.project / ".fpbus" / "history.db"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            yield database
        finally:
            database.close()

    def wait_recorded(self, count: int, timeout_s: float) -> bool:
        """Wait until so many runs have ended; tell whether they did."""
        return self.wait(lambda: self.recorded() >= count, timeout_s, f"{count} recorded")

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> bool:
        """Wait; tell, and return False, when it did not come true. The checker then says what is missing."""
        deadline = time.monotonic() + timeout_s
        told = time.monotonic()
        while not condition():
            if time.monotonic() > deadline:
                self.tell(f"gave up after {timeout_s:.0f} s waiting for {what}")
                return False
            if time.monotonic() - told > 5:
                told = time.monotonic()
                self.tell(f"waiting for {what}: {self.recorded()} recorded")
            time.sleep(0.05)  # the pause between two looks
        return True

    @contextlib.contextmanager
    def recovering(self, count: Callable[[], int]) -> Generator[None]:
        """Measure from the beginning of the block until something goes on, which `count` tells."""
        before, began = count(), time.monotonic()
        yield
        self.wait(lambda: count() > before or self.recorded() == len(self.asked), 60, "something to go on")
        if count() > before:
            self.recoveries.append(time.monotonic() - began)

    def left_over(self) -> dict[str, int]:
        """Return what lies in Redis though everything has ended."""
        counts = {"leases": self.raw.zcard("fpbus:leases"), "open": self.raw.zcard("fpbus:open")}
        counts |= {"outbox": self.raw.hlen("fpbus:outbox"), "held": self.raw.zcard("fpbus:held")}
        for queue in ("high", "default", "low"):
            counts[f"queue {queue}"] = self.raw.llen(f"rq:queue:{queue}")
            counts[f"started {queue}"] = self.raw.zcard(f"rq:wip:{queue}")
        return {name: count for name, count in counts.items() if count}

    def tally(self, timeout_s: float = 60.0) -> Tally:
        """Wait until all that was asked for has ended, and nothing is left over, and let the checker count."""
        self.wait(lambda: self.recorded() >= len(self.asked | self.promised), timeout_s, "the end of all runs")
        self.wait(lambda: not self.left_over(), 20, "nothing left over in Redis")
        left = self.left_over()
        if left:
            self.tell(f"left over: {left}")
        return tally(self._evidence(sum(left.values())))

    def _evidence(self, left: int) -> Evidence:
        """Have every account name runs by their input: a message without a run id has no other name."""
        accepted = self.observer.accepted()
        names = {run_id: _name(run_id, body.get("request") or {}) for run_id, body in accepted.items()}
        records: dict[str, tuple[str, int]] = {}
        with self._history() as database:
            for run_id, state, attempt, request in database.execute("select run_id, state, attempt, request from runs"):
                name = names.setdefault(run_id, _name(run_id, json.loads(request) if request else {}))
                if records.get(name, ("", 0))[0] not in TERMINAL:
                    records[name] = (state, attempt)
        ends: dict[str, set[tuple[str, int, str]]] = {}
        for run_id, heard in self.observer.ends().items():
            ends.setdefault(names.get(run_id, run_id), set()).update(heard)
        return Evidence(
            asked={run_id_of(x) for x in self.asked},
            promised={run_id_of(x) for x in self.promised} | {names[run_id] for run_id in accepted},
            records=records,
            ends=ends,
            executions={run_id_of(x): times for x, times in self.marks.executions().items()},
            left=left,
            recoveries=self.recoveries,
        )


def run_id_of(x: int) -> str:
    return f"c-{x}"


def key_of(x: int) -> str:
    """Return what tells the messages of one run from all others, wherever they go."""
    return f"key-{x}-"


def _name(run_id: str, request: dict[str, Any]) -> str:
    x = request.get("inputs", {}).get("x")
    return run_id if x is None else run_id_of(x)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.memory_info().rss
    return 0


def signal_tree(pid: int, number: int) -> list[int]:
    """Signal a process and all that it has started, and return their pids."""
    tree = _tree(pid)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return [process.pid for process in tree]


@contextlib.contextmanager
def fresh_place(seed: int, tell: Tell, *, shipped_broker: bool = False) -> Generator[Place]:
    """Have a place that nobody has used yet."""
    with tempfile.TemporaryDirectory(prefix="fpbus-chaos-", ignore_cleanup_errors=True) as name:
        place = Place(Path(name), seed, tell, shipped_broker=shipped_broker)
        try:
            yield place
        finally:
            place.close()
