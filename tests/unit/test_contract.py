"""The schema of a pipeline's inputs says what a run takes."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fpbus.pipelines import PipelineFailedError, Project
from fpbus.pipelines.contract import pipeline_schema

CODE = """
from decimal import Decimal
from typing import Any, Literal
import msgspec

class Reading(msgspec.Struct):
    celsius: float
    price: Decimal = Decimal(1)

class Foreign: ...

def a(reading: Reading, level: Literal["low", "high"], count: int = 3) -> float: return reading.celsius
def b(a: float, factor: float, note: str | None, anything: Any, foreign: Foreign, rows: list[int]) -> float: return a
"""


@pytest.fixture
def schema(tmp_path: Path) -> dict[str, Any]:
    project = Project.new(tmp_path / "shop")
    (project.folder / "pipelines" / "contracted.py").write_text(CODE)
    (project.folder / "conf" / "pipelines" / "contracted.yml").write_text("params:\n  factor: 2.0\n")
    graph = project.graph("contracted")
    return pipeline_schema("contracted", graph.driver(), graph.config).inputs


def test_required_is_what_has_no_default_and_no_param(schema: dict[str, Any]) -> None:
    assert schema["required"] == ["anything", "foreign", "level", "note", "reading", "rows"]
    assert {"count", "factor"} <= set(schema["properties"])


def test_a_struct_is_strict_to_its_fields(schema: dict[str, Any]) -> None:
    assert schema["properties"]["reading"] == {"$ref": "#/$defs/Reading"}
    assert schema["$defs"]["Reading"]["properties"]["celsius"] == {"type": "number"}
    assert schema["$defs"]["Reading"]["properties"]["price"]["type"] == ["string", "number"]


def test_types_that_json_cannot_say_take_everything(schema: dict[str, Any]) -> None:
    assert schema["properties"]["anything"] == {}
    assert schema["properties"]["foreign"] == {"title": "Foreign"}


HINTS = [
    "int",
    "float",
    "str",
    "bool",
    "bytes",
    "Decimal",
    "datetime",
    "timedelta",
    "UUID",
    "Colour",
    "Point",
    "Reading",
    "list[int]",
    "list[Reading]",
    "dict[str,float]",
    "tuple[int,str]",
    "set[int]",
    "int|None",
    "int|str",
    "Reading|None",
    "Literal['a','b']",
    "Any",
    "Foreign",
    "Short",
    "Sizes",
    "list[Sizes]",
    "Sizes|None",
    "Order",
    "list[Order]",
    "dict[int,str]",
    "Iterable[int]",
    "Sequence[int]",
    "list[Foreign]",
    "Foreign|int",
    "Pair",
]
VALUES: list[Any] = [
    *(None, True, 1, -1, 25.0, 1.5, "", "a", "red", "2026-01-01T00:00:00Z", "1.5", "PT1S"),
    *([], [1], ["a"], [1, "a"], {}, {"x": 1}, {"x": "q"}, {"celsius": 1}, {"celsius": "q"}, [{"celsius": 1}]),
    *({"1": "a"}, {"width": 1}, [{"width": 1}], {"width": "1"}, [{"item": "a", "at": "2026-01-01"}]),
    *({"item": "a", "at": "2026-01-01", "sizes": {"width": 2}}, {"item": "a", "at": "2026-01-01T00:00:00"}),
    "12345678-1234-5678-1234-567812345678",
]
MORE_CODE = """
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, NamedTuple, TypedDict
from pydantic import BaseModel, Field
from uuid import UUID

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int

Short = Annotated[int, msgspec.Meta(ge=0, le=5)]

class Sizes(TypedDict):
    width: int

class Size(BaseModel):
    width: int = Field(gt=0)

class Order(BaseModel):
    item: str
    at: date
    sizes: Size | None = None

class Pair(NamedTuple):
    x: int
    y: str = ""
"""


@pytest.mark.parametrize("hint", HINTS)
def test_nothing_is_refused_that_a_run_accepts(hint: str, tmp_path: Path) -> None:
    project = Project.new(tmp_path / "shop")
    code = CODE.partition("def a(")[0] + MORE_CODE + f"def done(value: {hint}) -> int: return 1\n"
    (project.folder / "pipelines" / "one.py").write_text(code)
    (project.folder / "conf" / "pipelines" / "one.yml").write_text("params: {}\n")
    graph = project.graph("one")
    validator = Draft202012Validator(pipeline_schema("contracted", graph.driver(), graph.config).inputs)
    accepted = [value for value in VALUES if _runs(project, value)]
    assert accepted or "Foreign" in hint
    assert [value for value in accepted if not validator.is_valid({"value": value})] == []


def _runs(project: Project, value: Any) -> bool:
    try:
        project.run("one", {"value": value})
    except PipelineFailedError:
        return False
    return True
