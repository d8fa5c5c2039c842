"""The OpenAPI 3.1 document of a daemon's routes. Pure.

Made from the requests' own models and from the declarations of the answers, which the encoders are
tested against. What is for operators, who have commands, is named and not described in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from cortex_actors.dialects.error_table import ERROR_TABLE
from cortex_actors.http.operations import JSON, Json, Operation

_REFERENCE: Final = "#/components/schemas/{name}"
_REFUSALS: Final = (400, 404, 405, 408, 413, 415)
_OBJECT: Final = {"type": "object"}

_PARAMETERS: Final[Mapping[str, Json]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "after": {"type": "string"},
    "order": {"enum": ["asc", "desc"]},
}


def document(version: str, operations: Sequence[Operation]) -> Json:
    """Return the document."""
    types = {each for operation in operations for each in (*operation.answers, operation.event)}
    ordered = sorted(types - {None}, key=str)
    found, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    answers = dict(zip(ordered, found, strict=True))
    schemas |= {"Error": _openai_error(), "AnthropicError": _anthropic_error()}
    paths: Json = {}
    for operation in operations:
        described = _operation(operation, answers)
        if operation.body is not None:
            schema = _add(operation.body, schemas)
            described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
        paths.setdefault(operation.path, {})[operation.verb] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "cortex", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(operation: Operation, answers: Mapping[Any, Json]) -> Json:
    described: Json = {"summary": operation.summary, "responses": _responses(operation, answers)}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [
        *(_parameter(name, "path", {"type": "string"}) for name in names),
        *(_parameter(name, "query", _PARAMETERS[name]) for name in operation.parameters),
    ]
    if len(operation.answers) > 1:
        parameters.append(_parameter("anthropic-version", "header", {"type": "string"}))
    if parameters:
        described["parameters"] = parameters
    if operation.command is not None:
        content = {JSON: {"schema": operation.command}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _add(model: type[BaseModel], schemas: Json) -> Json:
    """Add the model's schema and those it is made of; return the reference to it."""
    schema = model.model_json_schema(ref_template=_REFERENCE.replace("{name}", "{model}"))
    own = {**schema.pop("$defs", {}), model.__name__: schema}
    for name, each in own.items():
        if schemas.setdefault(name, each) != each:
            msg = f"two schemas are named {name}"
            raise ValueError(msg)
    return {"$ref": _REFERENCE.format(name=model.__name__)}


def _responses(operation: Operation, answers: Mapping[Any, Json]) -> Json:
    schemas = [answers[each] for each in operation.answers]
    schema = _any_of(schemas) if schemas else _OBJECT
    if operation.content_type != JSON:
        schema = {"type": "string"}
    content: Json = {operation.content_type: {"schema": schema}} if operation.content_type else {}
    if operation.event is not None:
        content["text/event-stream"] = {"schema": _stream(operation, answers[operation.event])}
    good = {str(status): _answer("Done.", content) for status in operation.statuses}
    return {**good, **(_failures(operation) if operation.fails else {})}


def _stream(operation: Operation, event: Json) -> Json:
    """Describe the data of each event; OpenAPI 3.1 has no other way to say it."""
    return {
        "type": "string",
        "description": "Server-sent events; the schema is that of each event's data.",
        "contentMediaType": JSON,
        "contentSchema": _any_of([event, *_errors(operation)]),
    }


def _errors(operation: Operation) -> list[Json]:
    names = ["AnthropicError"] if operation.path.startswith("/v1/messages") else ["Error"]
    if len(operation.answers) > 1:
        names.append("AnthropicError")
    return [{"$ref": _REFERENCE.format(name=name)} for name in names]


def _failures(operation: Operation) -> Json:
    content = {JSON: {"schema": _any_of(_errors(operation))}}
    statuses = {*_REFUSALS, *(row.status for row in ERROR_TABLE.values())}
    return {str(status): _answer("Refused or failed.", content) for status in sorted(statuses)}


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _answer(description: str, content: Json) -> Json:
    text = {"required": True, "schema": {"type": "string"}}
    headers = dict.fromkeys(("x-request-id", "request-id"), text)
    answer: Json = {"description": description, "headers": headers}
    return {**answer, "content": content} if content else answer


def _openai_error() -> Json:
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    fields = {"message": text, "type": text, "param": maybe, "code": maybe, "request_id": text}
    error = {"type": "object", "required": list(fields), "properties": fields}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _anthropic_error() -> Json:
    text = {"type": "string"}
    fields = {"type": text, "message": text}
    error = {"type": "object", "required": list(fields), "properties": fields}
    whole = {"type": {"const": "error"}, "error": error, "request_id": text}
    return {"type": "object", "required": list(whole), "properties": whole}
