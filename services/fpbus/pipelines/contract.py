"""What a pipeline takes, as JSON Schema: read from its functions' type hints, its params and its configured inputs."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from hamilton.htypes import check_input_type

from fpbus.schemas import PipelineConfig

from .drivers import BuiltDriver
from .faults import missing_inputs

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_WITNESSES: Final[Mapping[str, Any]] = {
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "string": "",
    "array": [],
    "object": {},
}


def inputs_schema(built: BuiltDriver, config: PipelineConfig) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the inputs of a run that asks for the pipeline's usual outputs.

    It refuses only what such a run would refuse too. An input that nothing uses is ignored by a run, and so here.
    """
    kinds = {name: kind for name, kind in sorted(built.input_types.items()) if _is_known(kind)}
    parts, definitions = msgspec.json.schema_components(kinds.values(), ref_template="#/$defs/{name}")
    strict = dict(zip(kinds, parts, strict=True))
    properties = {
        name: _as_run_takes(kind, strict[name]) if name in strict else {}
        for name, kind in sorted(built.input_types.items())
    }
    given = {**config.params, **config.run.inputs}
    wanted = config.run.final_vars or built.last_nodes
    schema = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": properties,
        "required": missing_inputs(built.dag.graph, wanted, given),
        "$defs": definitions,
    }
    loosened: dict[str, Any] = _numbers_for_decimals(schema)
    return loosened


def _is_known(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind)
    except (TypeError, RuntimeError, NameError):  # a class of somebody else's, or a hint that leads nowhere
        return False
    return True


def _as_run_takes(kind: Any, strict: dict[str, Any]) -> dict[str, Any]:
    """Return what a run accepts: what can be converted, what Hamilton lets pass as it is, and null."""
    passing = [name for name, value in _WITNESSES.items() if _passes(kind, value)]
    return {"anyOf": [strict, {"type": ["null", *passing]}]} if strict else {}


def _passes(kind: Any, value: Any) -> bool:
    try:
        return bool(check_input_type(kind, value))
    except TypeError:  # a TypedDict cannot be asked
        return False


def _numbers_for_decimals(schema: Any) -> Any:
    """Decimals are converted from numbers too, which msgspec's schema does not say."""
    if isinstance(schema, list):
        return [_numbers_for_decimals(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**schema, "type": ["string", "number"]}
    return {key: _numbers_for_decimals(part) for key, part in schema.items()}
