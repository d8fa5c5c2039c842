"""Anthropic messages and count_tokens."""

from __future__ import annotations

from typing import Any, Final

from cortex_actors.cli.conformance.case import cases, equal, expect, one_of, shaped
from cortex_actors.cli.conformance.messages_api import (
    PATH,
    count,
    refusal,
    request,
    stream,
    whole,
)
from cortex_actors.cli.conformance.messages_shapes import Block, Message, Text, ToolUse
from cortex_actors.cli.conformance.prompts import (
    COUNT,
    FOREIGN,
    GREETING,
    PIXEL,
    WEATHER,
    WEATHER_SCHEMA,
    names_a_city,
    too_long,
)
from cortex_actors.cli.conformance.server import Server

_TOOLS: Final = [
    {"name": "get_weather", "description": "The weather.", "input_schema": WEATHER_SCHEMA}
]


def _text(blocks: list[Block]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, Text))


def _uses(blocks: list[Block]) -> list[ToolUse]:
    return [block for block in blocks if isinstance(block, ToolUse)]


def _asked(server: Server, **fields: Any) -> dict[str, Any]:
    body = request(server, WEATHER, tools=_TOOLS, tool_choice={"type": "any"}, max_tokens=150)
    return {**body, **fields}


def _answer(server: Server) -> None:
    message = whole(server, request(server, GREETING))
    expect(_text(message.content), "there is no text")
    expect(message.id, "the message has no id")
    one_of(message.stop_reason, ("end_turn", "max_tokens"), "stop_reason")
    expect(message.usage.prompt_tokens > 0, "input_tokens is 0")
    expect(message.usage.output_tokens > 0, "output_tokens is 0")


def _joined(server: Server) -> None:
    body = request(server, GREETING)
    streamed, message = stream(server, body), whole(server, body)
    equal(streamed.blocks, message.content, "the joined stream")
    equal(streamed.end and streamed.end.stop_reason, message.stop_reason, "stop_reason")
    equal(streamed.output_tokens, message.usage.output_tokens, "output_tokens")


def _start(server: Server) -> None:
    body = request(server, GREETING)
    start = stream(server, body).start
    equal(start.stop_reason, None, "the stop_reason of message_start")
    equal(start.model, whole(server, body).model, "its model")
    expect(start.id, "the message has no id")


def _pieces(server: Server) -> None:
    pieces = stream(server, request(server, COUNT)).pieces
    expect(pieces > 2, f"the text came in {pieces} pieces")


def _limit(server: Server) -> None:
    message = whole(server, request(server, COUNT, max_tokens=5))
    equal(message.stop_reason, "max_tokens", "stop_reason")
    equal(message.usage.output_tokens, 5, "output_tokens")


def _stop(server: Server) -> None:
    text = _text(whole(server, request(server, COUNT)).content)
    stop = text[len(text) // 2 :][:6]
    expect(len(stop) == 6, f"the answer is too short to be stopped: {text!r}")
    body = request(server, COUNT, stop_sequences=[stop])
    message, streamed = whole(server, body), stream(server, body)
    equal(_text(message.content), text[: text.index(stop)], "the text before the stop sequence")
    equal(message.stop_reason, "stop_sequence", "stop_reason")
    equal(message.stop_sequence, stop, "stop_sequence")
    equal(streamed.end and streamed.end.stop_sequence, stop, "the streamed stop_sequence")


def _system(server: Server) -> None:
    plain = whole(server, request(server, GREETING)).usage.prompt_tokens
    text = whole(server, request(server, GREETING, system="Be brief.")).usage.prompt_tokens
    blocks = [{"type": "text", "text": "Be brief."}]
    block = whole(server, request(server, GREETING, system=blocks)).usage.prompt_tokens
    equal(block, text, "input_tokens with system as blocks")
    expect(text != plain, "system changes nothing")


def _characters(server: Server) -> None:
    body = request(server, FOREIGN, max_tokens=60)
    equal(stream(server, body).blocks, whole(server, body).content, "the joined stream")


def _tool(server: Server) -> None:
    message = whole(server, _asked(server))
    uses = _uses(message.content)
    expect(uses, "there is no tool_use")
    for use in uses:
        expect(use.id, "a tool_use has no id")
        equal(use.name, "get_weather", "the tool")
        expect(names_a_city(use.input), f"the input is not what the schema says: {use.input!r}")
    equal(message.stop_reason, "tool_use", "stop_reason")


def _streamed_tool(server: Server) -> None:
    streamed = stream(server, _asked(server))
    uses = _uses(streamed.blocks)
    expect(uses, "there is no tool_use")
    whole_uses = _uses(whole(server, _asked(server)).content)
    told = [(use.name, use.input) for use in uses]
    equal(told, [(use.name, use.input) for use in whole_uses], "the streamed calls")
    equal(streamed.end and streamed.end.stop_reason, "tool_use", "stop_reason")


def _named_tool(server: Server) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    expect(_uses(whole(server, _asked(server, tool_choice=choice)).content), "there is no tool_use")


def _result(server: Server) -> None:
    uses = _uses(whole(server, _asked(server)).content)
    expect(uses, "there is no tool_use")
    use = uses[0]
    call = {"type": "tool_use", "id": use.id, "name": use.name, "input": use.input}
    for content in ("21", [{"type": "text", "text": "21"}]):
        for more in ({}, {"is_error": True}):
            result = {"type": "tool_result", "tool_use_id": use.id, "content": content, **more}
            turns = [
                {"role": "user", "content": WEATHER},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ]
            message = whole(server, request(server, "", messages=turns, tools=_TOOLS))
            expect(message.content, "the answer is empty")


def _counted(server: Server) -> None:
    for body in (request(server, GREETING), request(server, GREETING, system="Be brief.")):
        counted = count(server, body)
        equal(counted, whole(server, body).usage.prompt_tokens, "the count")


def _counted_tools(server: Server) -> None:
    body = _asked(server, tool_choice={"type": "auto"})
    counted = count(server, body)
    expect(counted > count(server, request(server, WEATHER)), "tools are not counted")
    equal(counted, whole(server, body).usage.prompt_tokens, "the count")


def _image(server: Server) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    body = request(server, "", messages=[{"role": "user", "content": parts}])
    whole(server, request(server, GREETING))
    reply = server.post(PATH, body)
    if reply.status != 200:
        refusal(reply, 400, 415, 422)
        return
    plain = whole(server, request(server, "What is this?")).usage.prompt_tokens
    seen = shaped(reply.json(), Message, "the message").usage.prompt_tokens
    expect(seen > plain, "the picture was left out")


def _extras(server: Server) -> None:
    text = {"type": "text", "text": GREETING, "cache_control": {"type": "ephemeral"}}
    turns = [{"role": "user", "content": [text]}]
    whole(server, request(server, "", messages=turns, metadata={"user_id": "u-1"}))


def _model(server: Server) -> None:
    whole(server, request(server, GREETING))
    body = request(server, GREETING, model="no-such-model")
    equal(refusal(server.post(PATH, body), 404).error.type, "not_found_error", "the error's type")


def _json(server: Server) -> None:
    whole(server, request(server, GREETING))
    error = refusal(server.post(PATH, b'{"model": "'), 400).error
    equal(error.type, "invalid_request_error", "the error's type")


def _missing(server: Server) -> None:
    whole(server, request(server, GREETING))
    for name in ("max_tokens", "messages"):
        body = request(server, GREETING)
        del body[name]
        error = refusal(server.post(PATH, body), 400).error
        expect(name in error.message, f"the message names no {name}: {error.message!r}")


def _context(server: Server) -> None:
    whole(server, request(server, GREETING))
    error = refusal(server.post(PATH, request(server, too_long(server.context))), 400, 413).error
    said = error.message.lower()
    known = "too long" in said or "context" in said
    expect(known, f"clients cannot tell it from {error.message!r}")


def _request_id(server: Server) -> None:
    whole(server, request(server, GREETING))
    replies = (server.post(PATH, request(server, GREETING)), server.post(PATH, b"{"))
    expect(all(reply.headers.get("request-id") for reply in replies), "there is no request-id")


CASES = cases(
    "messages",
    a_message_has_every_field=_answer,
    the_joined_stream_is_the_whole_message=_joined,
    message_start_is_as_clients_take_it=_start,
    a_stream_comes_in_pieces=_pieces,
    the_token_limit_is_kept_and_told=_limit,
    a_stop_sequence_is_told=_stop,
    system_is_text_or_blocks=_system,
    no_character_is_cut_between_deltas=_characters,
    a_demanded_tool_is_used=_tool,
    a_demanded_tool_is_streamed=_streamed_tool,
    a_named_tool_is_used=_named_tool,
    tool_results_are_answered=_result,
    count_tokens_is_exact=_counted,
    count_tokens_counts_tools=_counted_tools,
    an_image_is_seen_or_refused=_image,
    cache_control_and_metadata_are_accepted=_extras,
    an_unknown_model_is_404=_model,
    malformed_JSON_is_400=_json,
    missing_fields_are_named=_missing,
    a_prompt_over_the_context_is_told_apart=_context,
    every_response_has_a_request_id=_request_id,
)
