"""What fpbus writes is for its owner alone, however generous the umask."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fpbus.edge import Publisher
from support.device import Device
from support.stack import Stack
from support.waiting import wait_for

#: Below the project's folder or beside it.
_OURS: Final = (".fpbus", "access", "outbox")

LARGE_PY = "def large(x: int) -> str:\n    return 'x' * 100_000\n"


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


def _open_to_others(folder: Path) -> list[str]:
    """Return the files that others can get to and read or write."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        if not _mode(Path(place)) & 0o077:
            folders.clear()  # nobody else gets in
        else:
            found += [name for file in files if _mode(Path(name := f"{place}/{file}")) & 0o077]
    return found


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _fpbus(folder: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FPBUS_")}
    subprocess.run([sys.executable, "-m", "fpbus", *arguments], cwd=folder, env=environment, check=True)


def test_data_passwords_and_outputs_are_for_their_owner(umask: int, stack: Stack, device: Device) -> None:
    stack.add_pipeline("large", LARGE_PY, "run: {final_vars: [large], cache: true}\n")
    stack.start("recorder", "dispatcher", "runner", "scheduler")
    device.run("large", {"run_id": "one", "inputs": {"x": 1}})
    assert device.wait_result("one", 60)["state"] == "succeeded"
    stack.wait_records(1)
    _fpbus(stack.project, "acl", "--device", "boiler")
    with Publisher(stack.environment["FPBUS_MQTT_URL"], outbox=stack.project / "outbox"):
        wait_for((stack.project / "outbox").exists, what="the outbox")
        assert [_open_to_others(stack.project / name) for name in _OURS] == [[], [], []]
        assert _mode(stack.project / "outbox") == 0o600

    state = stack.project / ".fpbus"
    assert {path.name for path in state.iterdir()} >= {"history.db", "schedules.db", "storage"}
    assert {_mode(state / name) for name in ("history.db", "schedules.db")} == {0o600}
    assert _mode(state) == 0o700
