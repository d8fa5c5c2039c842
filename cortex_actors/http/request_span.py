"""A request as spans, named after OpenTelemetry's conventions for HTTP and GenAI. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from cortex_actors.http.finished_request import FinishedRequest
from cortex_actors.http.request_record import RequestRecord

Attribute = str | int | float | bool | tuple[str, ...]

_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
}


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a request; in seconds from its arrival."""

    name: str
    begin_s: float
    end_s: float


@final
@dataclass(frozen=True, slots=True)
class RequestSpan:
    """``phases`` follow each other; ``first_token_s`` is from the arrival, 0 if there was none."""

    name: str
    attributes: Mapping[str, Attribute]
    phases: tuple[Phase, ...]
    first_token_s: float
    error: str


def request_span(request: FinishedRequest) -> RequestSpan:
    """Return a request's span; what the request has not is in none of its attributes."""
    record = request.record
    operation = _OPERATIONS.get(record.route)
    asked = bool(operation and record.asked_model)
    name = f"{operation} {record.asked_model}" if asked else _http_name(request)
    attributes = {
        **_http(request),
        **({"gen_ai.operation.name": operation, **_gen_ai(record)} if asked else {}),
    }
    told = {key: value for key, value in attributes.items() if value is not None and value != ""}
    return RequestSpan(name, told, phases(record), record.first_token_s, record.error)


def phases(record: RequestRecord) -> tuple[Phase, ...]:
    """Return how a request's time was spent: the lease, with a cold load, then the engine's."""
    at, found = 0.0, []
    for name, length_s in (
        ("load" if record.loaded else "lease", record.lease_s),
        ("queue", record.queue_s),
        ("prefill", record.prefill_s),
        ("decode", record.decode_s),
    ):
        if length_s > 0:
            found.append(Phase(name, at, at + length_s))
            at += length_s
    return tuple(found)


def _http_name(request: FinishedRequest) -> str:
    return f"{request.method} {request.record.route}".rstrip()


def _http(request: FinishedRequest) -> dict[str, Attribute | None]:
    status = request.status
    return {
        "http.request.method": request.method,
        "url.path": request.path,
        "http.route": request.record.route,
        "http.response.status_code": int(status) if status.isdigit() else None,
        "client.address": request.client,
        "error.type": request.record.error,
        "cortex.request_id": request.record.request_id,
    }


def _gen_ai(record: RequestRecord) -> dict[str, Attribute | None]:
    return {
        "gen_ai.provider.name": "cortex",
        "gen_ai.request.model": record.asked_model,
        "gen_ai.response.model": record.model,
        "gen_ai.response.finish_reasons": (record.finish,) if record.finish else None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
        "cortex.neuron": record.neuron,
    }
