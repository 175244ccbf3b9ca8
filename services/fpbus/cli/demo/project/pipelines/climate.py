"""Four years at the same station, looked at from time to time; nobody sends a message for it."""

import csv
from pathlib import Path


def days(measurements: str) -> list[dict[str, str]]:
    """All days of the file that `measurements` names, relative to the project."""
    with (Path(__file__).parent.parent / measurements).open(newline="") as file:
        return list(csv.DictReader(file))


def hottest(days: list[dict[str, str]]) -> str:
    day = max(days, key=lambda day: float(day["temp_max"]))
    return f"{day['temp_max']} °C on {day['date']}"


def coldest(days: list[dict[str, str]]) -> str:
    day = min(days, key=lambda day: float(day["temp_min"]))
    return f"{day['temp_min']} °C on {day['date']}"


def extremes(hottest: str, coldest: str) -> str:
    return f"{coldest}, {hottest}"
