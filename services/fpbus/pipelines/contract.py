"""What a pipeline takes and gives, as JSON Schema: read from its functions' type hints, its params and its inputs."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from fpbus.schemas import PipelineConfig, PipelineSchema

from .drivers import BuiltDriver
from .faults import missing_inputs, needed_inputs
from .inputs import is_pydantic, type_name

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{name}"


def pipeline_schema(name: str, built: BuiltDriver, config: PipelineConfig, source: str | None = None) -> PipelineSchema:
    """Return the schemas of a run that asks for the pipeline's usual outputs, and a version that changes with them.

    That of the inputs refuses only what such a run refuses too. An input that nothing uses is ignored by a run, and so
    here. What no hint says, and types that are only Python's, take and give everything.
    """
    inputs, outputs = _inputs(built, config), _outputs(built, config)
    version = blake2b(msgspec.json.encode((inputs, outputs), order="deterministic"), digest_size=8).hexdigest()
    return PipelineSchema(pipeline=name, version=version, inputs=inputs, outputs=outputs, source=source)


def _inputs(built: BuiltDriver, config: PipelineConfig) -> dict[str, Any]:
    given = {**config.params, **config.run.inputs}
    wanted = config.run.final_vars or built.last_nodes
    needed = needed_inputs(built.dag.graph, wanted, built.input_types)
    kinds = {name: kind for name, kind in sorted(built.input_types.items()) if name in needed}
    nullable = built.nullable | {name for name, value in given.items() if value is None}
    parts, definitions = _schemas(kinds)
    properties = {name: _or_null(part) if name in nullable else part for name, part in parts.items()}
    return _object(properties, missing_inputs(built.dag.graph, wanted, given), definitions)


def _outputs(built: BuiltDriver, config: PipelineConfig) -> dict[str, Any]:
    nodes = built.dag.graph.nodes
    wanted = [name for name in config.run.final_vars or built.last_nodes if name in nodes]
    parts, definitions = _schemas({name: nodes[name].type for name in wanted})
    return _object(parts, wanted, definitions)


def _object(properties: Mapping[str, Any], required: list[str], definitions: Mapping[str, Any]) -> dict[str, Any]:
    schema = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": properties,
        "required": required,
        **({"$defs": definitions} if definitions else {}),
    }
    found: dict[str, Any] = _numbers_for_decimals(schema)
    return found


def _schemas(kinds: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a schema for each name, and the definitions that they share."""
    definitions: dict[str, Any] = {}

    def of_foreign(kind: Any) -> dict[str, Any]:
        return _of_model(kind, definitions) if is_pydantic(kind) else _of_unknown(kind)

    known = {name: kind for name, kind in kinds.items() if _can_be_described(kind)}
    found, shared = msgspec.json.schema_components(known.values(), schema_hook=of_foreign, ref_template=_REF)
    parts = dict(zip(known, found, strict=True))
    return {name: parts.get(name, {}) for name in kinds}, {**shared, **definitions}


def _can_be_described(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind, schema_hook=_of_unknown)
    except (TypeError, RuntimeError, NameError):  # two classes of somebody else's in a union; a hint that leads nowhere
        return False
    return True


def _of_unknown(kind: Any) -> dict[str, Any]:
    """Take everything, but say what is asked for; msgspec wants to hear something."""
    return {"title": type_name(kind)}


def _of_model(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a pydantic model; what it refers to becomes a definition with the model's name before it."""
    schema: dict[str, Any] = kind.model_json_schema(ref_template=f"#/$defs/{kind.__name__}.{{model}}")
    definitions |= {f"{kind.__name__}.{name}": part for name, part in schema.pop("$defs", {}).items()}
    return schema


def _or_null(part: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [part, {"type": "null"}]} if part else {}


def _numbers_for_decimals(schema: Any) -> Any:
    """Decimals are converted from numbers too, which msgspec's schema does not say."""
    if isinstance(schema, list):
        return [_numbers_for_decimals(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**schema, "type": ["string", "number"]}
    return {key: _numbers_for_decimals(part) for key, part in schema.items()}
