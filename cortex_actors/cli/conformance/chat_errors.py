"""Requests for chat completions that must be refused, and how."""

from __future__ import annotations

from cortex_actors.cli.conformance.case import cases, expect
from cortex_actors.cli.conformance.chat_api import PATH, check_offered, refusal, request
from cortex_actors.cli.conformance.prompts import GREETING, too_long
from cortex_actors.cli.conformance.server import Server


def _model(server: Server) -> None:
    body = request(server, GREETING, model="no-such-model")
    error = refusal(server.post(PATH, body), 404).error
    expect("no-such-model" in error.message, f"the message names no model: {error.message!r}")


def _streamed_model(server: Server) -> None:
    refusal(server.post(PATH, request(server, GREETING, model="no-such-model", stream=True)), 404)


def _json(server: Server) -> None:
    refusal(server.post(PATH, b'{"model": "'), 400)


def _fields(server: Server) -> None:
    reply = server.post(PATH, {"model": server.model})
    refusal(reply, 400, 422)
    lacking = {"message", "type", "param", "code"} - set(reply.json()["error"])
    expect(not lacking, f"the error has no {', '.join(sorted(lacking))}")


def _missing(server: Server) -> None:
    refusal(server.post(PATH, {"model": server.model}), 400, 422)


def _type(server: Server) -> None:
    refusal(server.post(PATH, request(server, GREETING, temperature="hot")), 400, 422)


def _range(server: Server) -> None:
    error = refusal(server.post(PATH, request(server, GREETING, temperature=-1)), 400, 422).error
    expect("temperature" in f"{error.param} {error.message}", f"it says {error.message!r}")


def _context(server: Server) -> None:
    reply = server.post(PATH, request(server, too_long(server.context)))
    error = refusal(reply, 400).error
    words = f"{error.code} {error.message}"
    known = "context_length_exceeded" in words or "maximum context length" in words
    expect(known, f"clients cannot tell it from {error.code!r}, {error.message!r}")
    expect(error.param in {None, "messages"}, f"it blames {error.param!r}, which was not sent")


def _route(server: Server) -> None:
    refusal(server.post("/v1/no/such/route", {}), 404)


def _method(server: Server) -> None:
    refusal(server.get(PATH), 404, 405)


def _request_id(server: Server) -> None:
    replies = (server.post(PATH, request(server, GREETING)), server.post(PATH, b"{"))
    check_offered(replies[0])
    ids = [reply.headers.get("x-request-id") for reply in replies]
    expect(all(ids), "a response has no x-request-id")
    expect(len(set(ids)) == len(ids), "two responses have one x-request-id")


def _schema(server: Server) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    refusal(server.post(PATH, request(server, GREETING, response_format=form)), 400, 422)


CASES = cases(
    "chat",
    an_unknown_model_is_404=_model,
    an_unknown_model_is_404_for_a_stream_too=_streamed_model,
    malformed_JSON_is_400=_json,
    an_error_has_every_field=_fields,
    missing_messages_are_refused=_missing,
    a_value_of_the_wrong_type_is_refused=_type,
    a_value_out_of_range_is_named=_range,
    a_prompt_over_the_context_is_told_apart=_context,
    a_schema_that_is_none_is_refused=_schema,
    an_unknown_route_has_the_envelope=_route,
    a_wrong_method_has_the_envelope=_method,
    every_response_has_a_request_id_of_its_own=_request_id,
)
