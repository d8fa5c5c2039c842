"""The OpenAPI 3.1 document of a daemon's routes. Pure.

Made from the requests' own models and from the declarations of the answers, which these are made of
or tested against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from cortex_actors.dialects.error_table import ERROR_TABLE
from cortex_actors.http.api_document import ApiDocument, ApiInfo
from cortex_actors.http.operations import JSON, Json, Operation

_REFERENCE: Final = "#/components/schemas/{name}"
_REFUSALS: Final = (400, 401, 403, 404, 405, 408, 413, 415)

_KEYS: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_PARAMETERS: Final[Mapping[str, Json]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "after": {"type": "string"},
    "order": {"enum": ["asc", "desc"]},
    "neuron": {"type": "string"},
}


def document(version: str, operations: Sequence[Operation]) -> ApiDocument:
    """Return the document.

    Raises:
        ValueError: An operation does not say what it answers, or two schemas have the same name.
    """
    types = {each for operation in operations for each in (*_answers(operation), operation.event)}
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
    components: Json = {"schemas": schemas, "securitySchemes": _KEYS}
    security: list[Json] = [{}, *({name: []} for name in _KEYS)]
    return ApiDocument("3.1.0", ApiInfo("cortex", version), paths, components, security)


def _operation(operation: Operation, answers: Mapping[Any, Json]) -> Json:
    described: Json = {"summary": operation.summary, "responses": _responses(operation, answers)}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [
        *(_parameter(name, "path", {"type": "string"}) for name in names),
        *(_parameter(name, "query", _PARAMETERS[name]) for name in operation.parameters),
    ]
    if operation.anthropic is not None:
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
    content = _content(operation, answers) if operation.statuses else {}
    good = {str(status): _answer("Done.", content) for status in operation.statuses}
    return {**good, **(_failures(operation) if operation.fails else {})}


def _content(operation: Operation, answers: Mapping[Any, Json]) -> Json:
    """Return the schemas of a good answer's body, by media type."""
    if operation.content_type != JSON:
        text = {"schema": {"type": "string"}}
        return {operation.content_type: text} if operation.content_type else {}
    schemas = [answers[each] for each in _answers(operation)]
    if not schemas:
        msg = f"{operation.verb} {operation.path}: no type of its answer is declared"
        raise ValueError(msg)
    content: Json = {JSON: {"schema": _any_of(schemas)}}
    if operation.event is not None:
        content["text/event-stream"] = {"schema": _stream(operation, answers[operation.event])}
    return content


def _answers(operation: Operation) -> list[Any]:
    return [each for each in (operation.answer, operation.anthropic) if each is not None]


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
    if operation.anthropic is not None:
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
