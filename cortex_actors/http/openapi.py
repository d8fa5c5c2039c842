"""The OpenAPI 3.1 document of the routes for clients, made from the requests' own models. Pure.

Objects that responses are made of belong to OpenAI and Anthropic, whose clients check them; here
only lists are described. Errors are described in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from cortex_actors.dialects.anthropic.messages_request import CountRequest, MessagesRequest
from cortex_actors.dialects.error_table import ERROR_TABLE
from cortex_actors.dialects.openai.chat_request import ChatRequest
from cortex_actors.dialects.openai.completion_request import CompletionRequest
from cortex_actors.dialects.openai.embedding_request import EmbeddingRequest
from cortex_actors.dialects.responses.responses_request import ResponsesRequest

Json = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{model}"
_REFUSALS: Final = (400, 404, 405, 408, 413, 415)
_OBJECT: Final = {"type": "object"}


@dataclass(frozen=True, slots=True)
class _Operation:
    """One route and verb; ``statuses`` are those of success, ``parameters`` those of its query."""

    path: str
    verb: str
    summary: str
    body: type[BaseModel] | None = None
    streams: bool = False
    statuses: tuple[int, ...] = (200,)
    parameters: tuple[str, ...] = ()
    answer: str = ""


_PARAMETERS: Final[Mapping[str, Json]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    "after": {"type": "string"},
    "order": {"enum": ["asc", "desc"]},
}

OPERATIONS: Final = (
    _Operation("/v1/chat/completions", "post", "Answer a chat.", ChatRequest, True),
    _Operation("/v1/completions", "post", "Continue a text.", CompletionRequest, True),
    _Operation("/v1/responses", "post", "Make a response.", ResponsesRequest, True),
    _Operation("/v1/responses/{response_id}", "get", "Return a stored response."),
    _Operation("/v1/responses/{response_id}", "delete", "Forget a stored response."),
    _Operation(
        "/v1/responses/{response_id}/input_items",
        "get",
        "List what it was asked.",
        parameters=("limit", "order", "after"),
        answer="List",
    ),
    _Operation("/v1/embeddings", "post", "Turn texts into vectors.", EmbeddingRequest),
    _Operation("/v1/messages", "post", "Answer a message (Anthropic).", MessagesRequest, True),
    _Operation(
        "/v1/messages/count_tokens", "post", "Count a prompt's tokens (Anthropic).", CountRequest
    ),
    _Operation("/v1/models", "get", "List the models, loaded or not.", answer="List"),
    _Operation("/v1/models/{model_id}", "get", "Return one model or alias."),
    _Operation("/health", "get", "Say that the server lives."),
    _Operation("/ready", "get", "Say whether it serves, or why not.", statuses=(200, 503)),
    _Operation("/version", "get", "Return the version."),
)


def document(version: str) -> Json:
    """Return the document."""
    schemas: Json = {
        "Error": _openai_error(),
        "AnthropicError": _anthropic_error(),
        "List": _list(),
    }
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.verb] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cortex", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(operation: _Operation, schemas: Json) -> Json:
    described: Json = {"summary": operation.summary, "responses": _responses(operation)}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [
        *(_parameter(name, "path", {"type": "string"}) for name in names),
        *(_parameter(name, "query", _PARAMETERS[name]) for name in operation.parameters),
    ]
    if _is_of_both(operation):
        parameters.append(_parameter("anthropic-version", "header", {"type": "string"}))
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body, schemas)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _is_of_both(operation: _Operation) -> bool:
    return operation.path.startswith("/v1/models")


def _schema(model: type[BaseModel], schemas: Json) -> Mapping[str, str]:
    """Add the model's schema and those it is made of; return the reference to it."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _responses(operation: _Operation) -> Json:
    answer = {"$ref": _REFERENCE.format(model=operation.answer)} if operation.answer else _OBJECT
    content: Json = {"application/json": {"schema": answer}}
    if operation.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    good = {str(status): _answer("Done.", content) for status in operation.statuses}
    return {**good, **(_failures(operation) if operation.path.startswith("/v1") else {})}


def _failures(operation: _Operation) -> Json:
    names = ["AnthropicError"] if operation.path.startswith("/v1/messages") else ["Error"]
    if _is_of_both(operation):
        names.append("AnthropicError")
    schemas = [{"$ref": _REFERENCE.format(model=name)} for name in names]
    content = {"application/json": {"schema": {"anyOf": schemas}}}
    statuses = {*_REFUSALS, *(row.status for row in ERROR_TABLE.values())}
    return {str(status): _answer("Refused or failed.", content) for status in sorted(statuses)}


def _answer(description: str, content: Json) -> Json:
    text = {"required": True, "schema": {"type": "string"}}
    headers = dict.fromkeys(("x-request-id", "request-id"), text)
    return {"description": description, "headers": headers, "content": content}


def _list() -> Json:
    item = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    data = {"type": "array", "items": item}
    return {"type": "object", "required": ["data"], "properties": {"data": data}}


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
