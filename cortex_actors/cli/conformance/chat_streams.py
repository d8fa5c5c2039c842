"""Streamed chat completions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cortex_actors.cli.conformance.case import cases, equal, expect, parsed
from cortex_actors.cli.conformance.chat_api import PATH, request, stream, whole
from cortex_actors.cli.conformance.prompts import (
    COUNT,
    FOREIGN,
    GREETING,
    PERSON,
    PERSON_SCHEMA,
    is_person,
)
from cortex_actors.cli.conformance.server import Server

_AT_ONCE = 6


def _joined(server: Server) -> None:
    body = request(server, GREETING)
    streamed, answer = stream(server, body).only, whole(server, body).choices[0]
    equal(streamed.text, answer.message.content, "the joined stream")
    equal(streamed.finish_reason, answer.finish_reason, "finish_reason")


def _pieces(server: Server) -> None:
    found = stream(server, request(server, COUNT))
    pieces = [c for chunk in found.chunks for c in chunk.choices if c.delta.content]
    expect(len(pieces) > 2, f"the text came in {len(pieces)} pieces")


def _role(server: Server) -> None:
    found = stream(server, request(server, GREETING))
    deltas = [choice.delta for chunk in found.chunks for choice in chunk.choices]
    equal(deltas[0].role, "assistant", "the first delta's role")
    expect(not any(delta.role for delta in deltas[1:]), "the role comes more than once")


def _heads(server: Server) -> None:
    found = stream(server, request(server, COUNT))
    heads = {(chunk.created, chunk.model) for chunk in found.chunks}
    expect(len(heads) == 1, f"the chunks have {len(heads)} times or models")


def _content_type(server: Server) -> None:
    with server.streaming(PATH, request(server, GREETING, stream=True)) as response:
        found = response.headers.get("content-type", "")
        expect(found.startswith("text/event-stream"), f"content-type is {found!r}")


def _usage(server: Server) -> None:
    body = request(server, GREETING)
    found = stream(server, {**body, "stream_options": {"include_usage": True}})
    *others, last = found.chunks
    equal(last.choices, [], "the choices of the last chunk")
    equal(last.usage, whole(server, body).usage, "the usage")
    expect(not any(chunk.usage for chunk in others), "an earlier chunk has a usage too")


def _no_usage(server: Server) -> None:
    found = stream(server, request(server, GREETING))
    expect(all(chunk.choices for chunk in found.chunks), "a chunk has no choices")


def _limit(server: Server) -> None:
    equal(stream(server, request(server, COUNT, max_tokens=5)).only.finish_reason, "length", "it")


def _stop(server: Server) -> None:
    text = stream(server, request(server, COUNT)).only.text
    stop = text[len(text) // 2 :][:6]
    expect(len(stop) == 6, f"the answer is too short to be stopped: {text!r}")
    stopped = stream(server, request(server, COUNT, stop=stop)).only
    equal(stopped.text, text[: text.index(stop)], "the text before the stop string")
    equal(stopped.finish_reason, "stop", "finish_reason")


def _characters(server: Server) -> None:
    body = request(server, FOREIGN, max_tokens=60)
    text = stream(server, body).only.text
    equal(text, whole(server, body).choices[0].message.content, "the joined stream")
    broken = "\N{REPLACEMENT CHARACTER}"
    expect(broken not in text.rstrip(broken), f"a character was cut: {text!r}")


def _schema(server: Server) -> None:
    schema = {"name": "person", "strict": True, "schema": PERSON_SCHEMA}
    form = {"type": "json_schema", "json_schema": schema}
    body = request(server, PERSON, response_format=form, max_tokens=120)
    text = stream(server, body).only.text
    expect(is_person(parsed(text, "the joined text")), f"not what the schema says: {text!r}")


def _at_once(server: Server) -> None:
    bodies = [request(server, f"{GREETING} Number {number}.") for number in range(_AT_ONCE)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        streams = list(pool.map(lambda body: stream(server, body), bodies))
    equal(len({found.chunks[0].id for found in streams}), _AT_ONCE, "the number of distinct ids")
    expect(all(found.only.text for found in streams), "one of them is empty")


CASES = cases(
    "chat",
    the_joined_stream_is_the_whole_answer=_joined,
    a_stream_comes_in_pieces=_pieces,
    the_first_delta_alone_has_the_role=_role,
    all_chunks_have_one_time_and_model=_heads,
    a_stream_is_an_event_stream=_content_type,
    usage_is_streamed_last_when_asked_for=_usage,
    usage_is_not_streamed_otherwise=_no_usage,
    a_streams_token_limit_is_told=_limit,
    a_stop_string_ends_a_stream_before_it=_stop,
    no_character_is_cut_between_chunks=_characters,
    a_json_schema_is_kept_in_a_stream=_schema,
    streams_at_once_do_not_mix=_at_once,
)
