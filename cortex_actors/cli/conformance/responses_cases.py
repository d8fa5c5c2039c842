"""OpenAI's Responses."""

from __future__ import annotations

from typing import Any, Final

from cortex_actors.cli.conformance.case import Unmet, cases, equal, expect, parsed
from cortex_actors.cli.conformance.chat_api import refusal
from cortex_actors.cli.conformance.prompts import (
    COUNT,
    FOREIGN,
    GREETING,
    PERSON,
    PERSON_SCHEMA,
    PIXEL,
    WEATHER,
    WEATHER_SCHEMA,
    is_person,
    names_a_city,
    too_long,
)
from cortex_actors.cli.conformance.responses_api import (
    PATH,
    calls_of,
    request,
    stream,
    text_of,
    whole,
)
from cortex_actors.cli.conformance.server import Server

_TOOLS: Final = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": WEATHER_SCHEMA,
        "strict": True,
    }
]


def _asked(server: Server, **fields: Any) -> dict[str, Any]:
    body = request(server, WEATHER, tools=_TOOLS, tool_choice="required", max_output_tokens=150)
    return {**body, **fields}


def _answer(server: Server) -> None:
    response = whole(server, request(server, GREETING))
    expect(text_of(response.output), "there is no text")
    expect(response.id, "the response has no id")
    expect(response.created_at is not None, "the response has no created_at")
    equal(bool(response.model), True, "whether the response names its model")


def _streamed_fields(server: Server) -> None:
    created = stream(server, request(server, GREETING)).created
    expect(created.created_at is not None, "response.created has no created_at")
    expect(created.status in {"in_progress", "queued"}, f"its status is {created.status!r}")
    equal(bool(created.model), True, "whether it names its model")


def _usage(server: Server) -> None:
    usage = whole(server, request(server, GREETING)).usage
    if usage is None:
        raise Unmet("there is no usage")
    expect(usage.input_tokens > 0, "input_tokens is 0")
    expect(usage.output_tokens > 0, "output_tokens is 0")
    equal(usage.total_tokens, usage.input_tokens + usage.output_tokens, "total_tokens")


def _joined(server: Server) -> None:
    body = request(server, GREETING)
    streamed, response = stream(server, body), whole(server, body)
    equal(text_of(streamed.items), text_of(response.output), "the joined stream")
    equal(streamed.response.status, response.status, "the status")
    equal(streamed.response.usage, response.usage, "the usage")


def _numbers(server: Server) -> None:
    numbers = stream(server, request(server, GREETING)).numbers
    equal(numbers, list(range(len(numbers))), "the sequence numbers")


def _pieces(server: Server) -> None:
    pieces = stream(server, request(server, COUNT)).pieces
    expect(pieces > 2, f"the text came in {pieces} pieces")


def _limit(server: Server) -> None:
    body = request(server, COUNT, max_output_tokens=16)
    for response in (whole(server, body), stream(server, body).response):
        equal(response.status, "incomplete", "the status")
        details = response.incomplete_details
        equal(details and details.reason, "max_output_tokens", "incomplete_details.reason")


def _inputs(server: Server) -> None:
    parts = [{"type": "input_text", "text": GREETING}]
    plain = whole(server, request(server, GREETING)).usage
    for content in (GREETING, parts):
        for kind in ({}, {"type": "message"}):
            item = {**kind, "role": "user", "content": content}
            usage = whole(server, request(server, [item])).usage
            equal(usage and usage.input_tokens, plain and plain.input_tokens, "input_tokens")


def _instructions(server: Server) -> None:
    plain = whole(server, request(server, GREETING)).usage
    told = whole(server, request(server, GREETING, instructions="Be brief.")).usage
    equal(plain is None or told is None, False, "that there is no usage")
    expect(plain != told, "instructions change nothing")


def _characters(server: Server) -> None:
    body = request(server, FOREIGN, max_output_tokens=60)
    joined = text_of(stream(server, body).items)
    equal(joined, text_of(whole(server, body).output), "the joined stream")


def _schema(server: Server) -> None:
    form = {"type": "json_schema", "name": "person", "strict": True, "schema": PERSON_SCHEMA}
    body = request(server, PERSON, text={"format": form}, max_output_tokens=120)
    for output in (whole(server, body).output, stream(server, body).items):
        text = text_of(output)
        expect(is_person(parsed(text, "the text")), f"not what the schema says: {text!r}")


def _call(server: Server) -> None:
    calls = calls_of(whole(server, _asked(server)).output)
    expect(calls, "there is no call")
    for call in calls:
        expect(call.call_id, "a call has no call_id")
        equal(call.name, "get_weather", "the function")
        expect(names_a_city(parsed(call.arguments, "the arguments")), f"it is {call.arguments!r}")


def _streamed_call(server: Server) -> None:
    calls = calls_of(stream(server, _asked(server)).items)
    expect(calls, "there is no call")
    whole_calls = calls_of(whole(server, _asked(server)).output)
    told = [(call.name, call.arguments) for call in calls]
    equal(told, [(call.name, call.arguments) for call in whole_calls], "the streamed calls")


def _result(server: Server) -> None:
    calls = calls_of(whole(server, _asked(server)).output)
    expect(calls, "there is no call")
    items: list[dict[str, Any]] = [{"role": "user", "content": WEATHER}]
    for call in calls:
        made = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        items.append({"type": "function_call", **made})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "21"}
        items.append(result)
    response = whole(server, request(server, items, tools=_TOOLS))
    expect(text_of(response.output), "the answer is empty")


def _stored(server: Server) -> None:
    first = whole(server, request(server, GREETING, store=True))
    again = whole(server, request(server, "And?", previous_response_id=first.id, store=True))
    alone = whole(server, request(server, "And?"))
    equal(again.usage is None or alone.usage is None, False, "that there is no usage")
    if again.usage and alone.usage:
        more = again.usage.input_tokens > alone.usage.input_tokens
        expect(more, "the previous response is not in the prompt")


def _unknown_previous(server: Server) -> None:
    whole(server, request(server, GREETING))
    body = request(server, GREETING, previous_response_id="resp_nowhere")
    refusal(server.post(PATH, body), 400, 404)


def _image(server: Server) -> None:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
    parts = [{"type": "input_text", "text": "What is this?"}, image]
    whole(server, request(server, GREETING))
    reply = server.post(PATH, request(server, [{"role": "user", "content": parts}]))
    if reply.status != 200:
        refusal(reply, 400, 415, 422)
        return
    plain = whole(server, request(server, "What is this?")).usage
    seen = reply.json()["usage"]["input_tokens"]
    expect(plain and seen > plain.input_tokens, "the picture was left out without a word")


def _model(server: Server) -> None:
    whole(server, request(server, GREETING))
    refusal(server.post(PATH, request(server, GREETING, model="no-such-model")), 404)


def _json(server: Server) -> None:
    whole(server, request(server, GREETING))
    refusal(server.post(PATH, b'{"model": "'), 400)


def _missing(server: Server) -> None:
    whole(server, request(server, GREETING))
    refusal(server.post(PATH, {"model": server.model}), 400, 422)


def _context(server: Server) -> None:
    whole(server, request(server, GREETING))
    error = refusal(server.post(PATH, request(server, too_long(server.context))), 400).error
    words = f"{error.code} {error.message}"
    known = "context_length_exceeded" in words or "maximum context length" in words
    expect(known, f"clients cannot tell it from {error.code!r}, {error.message!r}")
    expect(error.param in {None, "input"}, f"it blames {error.param!r}, which was not sent")


CASES = cases(
    "responses",
    a_response_has_every_field=_answer,
    usage_adds_up=_usage,
    the_joined_stream_is_the_whole_response=_joined,
    response_created_has_every_field=_streamed_fields,
    events_are_numbered=_numbers,
    a_stream_comes_in_pieces=_pieces,
    the_token_limit_makes_it_incomplete=_limit,
    input_is_text_or_items=_inputs,
    instructions_are_in_the_prompt=_instructions,
    no_character_is_cut_between_deltas=_characters,
    a_json_schema_is_kept=_schema,
    a_demanded_call_is_made=_call,
    a_demanded_call_is_streamed=_streamed_call,
    a_calls_result_is_answered=_result,
    a_stored_response_is_gone_on_from=_stored,
    an_unknown_previous_response_is_refused=_unknown_previous,
    an_image_is_seen_or_refused=_image,
    an_unknown_model_is_404=_model,
    malformed_JSON_is_400=_json,
    missing_input_is_refused=_missing,
    a_prompt_over_the_context_is_told_apart=_context,
)
