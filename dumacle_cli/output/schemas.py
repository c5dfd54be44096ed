"""JSON Schemas of the documents that `-o json` prints, made from the types that commands return."""

from typing import Any

from pydantic import TypeAdapter

from dumacle_cli.output.result import OutputSpec


def schema(spec: OutputSpec) -> dict[str, Any]:
    """Return the JSON Schema of the document that a command prints under `-o json`."""
    data = list[spec.returns] if spec.many else spec.returns  # type: ignore[name-defined]
    shape = TypeAdapter(data).json_schema(mode="serialization")
    definitions = shape.pop("$defs", {})
    properties: dict[str, Any] = {"schema": {"const": spec.schema}, "data": shape}
    if spec.changes:
        properties |= {
            "changed": {"type": "boolean"},
            "operation": {"type": ["string", "null"]},
            "dry_run": {"type": "boolean"},
        }
    elif spec.many:
        properties["next"] = {"type": ["string", "null"]}
    required = list(properties)
    if spec.changes:
        properties["target"] = {"type": "string"}  # of what may destroy much
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": spec.schema,
        "type": "object",
        "properties": properties,
        "required": required,
        "$defs": definitions,
    }


ERROR_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "dumacle.error.v1",
    "type": "object",
    "properties": {
        "schema": {"const": "dumacle.error.v1"},
        "code": {"type": "string"},
        "message": {"type": "string"},
        "fix": {"type": "string"},
        "exit": {"type": "integer"},
    },
    "required": ["schema", "code", "message", "fix", "exit"],
    "additionalProperties": False,
}
