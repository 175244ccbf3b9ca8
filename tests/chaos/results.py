"""The rows that were measured, one JSON line each: what makes the harness resume."""

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from chaos.scenario import Outcome

FILE: Final = Path(__file__).parent / "results.jsonl"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario with one seed."""

    scenario: str
    seed: int
    at: datetime
    seconds: float
    load: float
    machine: str
    outcome: Outcome


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def read(file: Path = FILE) -> list[Row]:
    """Return all rows, oldest first. The last line may be half a line, of a harness that was killed."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [msgspec.json.decode(line, type=Row) for line in lines if line]


def latest(rows: list[Row]) -> dict[tuple[str, int], Row]:
    """Return the last row of each scenario and seed."""
    return {(row.scenario, row.seed): row for row in rows}


def append(row: Row, file: Path = FILE) -> None:
    with file.open("ab") as rows:
        rows.write(msgspec.json.encode(row) + b"\n")
