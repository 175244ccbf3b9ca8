"""Every value of a pipeline is encoded, or refused with `NotEncodableError` and a sentence: nothing else is raised."""

import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fpbus.pipelines import NotEncodableError, encode_output
from fpbus.pipelines.nodes import summarise

DEEP: list[Any] = functools.reduce(lambda inner, _: [inner], range(100_000), [])
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


class Hostile(list[int]):
    """Raises when somebody looks at it."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("no shape")


def encoded(value: Any) -> tuple[Any, dict[str, bytes]]:
    stored: dict[str, bytes] = {}

    def store(path: str, content: bytes) -> str:
        stored[path] = content
        return path

    return encode_output("out", value, store), stored


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (2**70, 2**70),
        ({"big": 2**70, "nan": math.nan}, {"big": 2**70, "nan": "NaN"}),
        ([math.inf, -math.inf, None], ["Infinity", "-Infinity", None]),
        ((1, {"a": np.float64(1.5)}), [1, {"a": 1.5}]),
    ],
)
def test_small_values_are_json(value: Any, found: Any) -> None:
    output, stored = encoded(value)

    assert json.loads(bytes(output.json), parse_constant=pytest.fail) == found
    assert output.json_special == ("nan" in repr(value) or "inf" in repr(value))
    assert stored == {}


@pytest.mark.parametrize(
    "value",
    [
        DEEP,
        CYCLE,
        {"big": 2**70, "cycle": CYCLE},
        {"big": 2**70, "foreign": object()},
        10**5000,
        (number for number in range(3)),
        "\ud800",
        {"a": object()},
        lambda: None,
        np.array([object()]),
        pd.DataFrame({"a": [1, "x", object()]}),
        pa.array([1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_encoded_is_refused_in_words(value: Any) -> None:
    with pytest.raises(NotEncodableError) as refused:
        encoded(value)

    assert len(str(refused.value)) > 10


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x" * 50_000_000, "json"),
        (b"x" * 50_000_000, "bin"),
        (pd.DataFrame({"a": [1]}), "parquet"),
        (pa.table({"a": [1]}), "parquet"),
        (np.zeros((2, 3)), "npy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_large_values_and_tables_are_files(value: Any, kind: str) -> None:
    output, stored = encoded(value)

    assert (output.ref, output.format, output.bytes) == (f"out.{kind}", kind, len(stored[f"out.{kind}"]))


def test_a_summary_survives_values_that_raise() -> None:
    make: Callable[[], Any] = Hostile

    assert summarise(make()) == "Hostile"
