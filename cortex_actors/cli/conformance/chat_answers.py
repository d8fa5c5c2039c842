"""Chat completions that are not streamed."""

from __future__ import annotations

from typing import Any

from cortex_actors.cli.conformance.case import cases, equal, expect, one_of, parsed
from cortex_actors.cli.conformance.chat_api import PATH, check_offered, refusal, request, whole
from cortex_actors.cli.conformance.prompts import (
    COUNT,
    GREETING,
    PERSON,
    PERSON_SCHEMA,
    PIXEL,
    is_person,
)
from cortex_actors.cli.conformance.server import Server

_STOP_CHARS = 6


def _answer(server: Server) -> None:
    answer = whole(server, request(server, GREETING))
    equal(len(answer.choices), 1, "the number of choices")
    expect(answer.choices[0].message.content, "the answer is empty")
    expect(answer.id, "the response has no id")


def _usage(server: Server) -> None:
    usage = whole(server, request(server, GREETING)).usage
    expect(usage.prompt_tokens > 0, "prompt_tokens is 0")
    expect(usage.completion_tokens > 0, "completion_tokens is 0")
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")


def _token_limit(server: Server) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        body = request(server, COUNT)
        del body["max_tokens"]
        answer = whole(server, {**body, field: 5})
        equal(answer.choices[0].finish_reason, "length", f"finish_reason with {field}")
        equal(answer.usage.completion_tokens, 5, f"completion_tokens with {field}")


def _stop(server: Server) -> None:
    text = whole(server, request(server, COUNT)).choices[0].message.content or ""
    expect(len(text) > 3 * _STOP_CHARS, f"the answer is too short to be stopped: {text!r}")
    stop = text[len(text) // 2 :][:_STOP_CHARS]
    stopped = whole(server, request(server, COUNT, stop=["\0never", stop])).choices[0]
    equal(stopped.message.content, text[: text.index(stop)], "the text before the stop string")
    equal(stopped.finish_reason, "stop", "finish_reason")


def _seed(server: Server) -> None:
    body = request(server, GREETING, temperature=1.0, seed=7)
    first, second = (whole(server, body).choices[0].message.content for _ in range(2))
    equal(first, second, "the second answer with one seed")


def _json_schema(server: Server) -> None:
    schema = {"name": "person", "strict": True, "schema": PERSON_SCHEMA}
    form = {"type": "json_schema", "json_schema": schema}
    body = request(server, PERSON, response_format=form, max_tokens=120)
    content = whole(server, body).choices[0].message.content or ""
    expect(is_person(parsed(content, "the content")), f"not what the schema says: {content!r}")


def _json_object(server: Server) -> None:
    body = request(server, PERSON, response_format={"type": "json_object"}, max_tokens=200)
    choice = whole(server, body).choices[0]
    if choice.finish_reason == "stop":
        value = parsed(choice.message.content or "", "the content")
        expect(isinstance(value, dict), "the content is no object")
    else:
        expect((choice.message.content or "").lstrip()[:1] == "{", "the content is no object")


def _choices(server: Server) -> None:
    answer = whole(server, request(server, GREETING, n=2))
    equal([choice.index for choice in answer.choices], [0, 1], "the choices")


def _logprobs(server: Server) -> None:
    body = request(server, GREETING, logprobs=True, top_logprobs=2)
    reply = server.post(PATH, body)
    check_offered(reply)
    equal(reply.status, 200, "the status")
    answer = reply.json()
    entries = (answer["choices"][0].get("logprobs") or {}).get("content") or []
    expect(entries, "there are no log probabilities")
    equal(len(entries), answer["usage"]["completion_tokens"], "their number")
    for entry in entries:
        expect(entry["logprob"] <= 0, f"a log probability is {entry['logprob']}")
        equal(len(entry["top_logprobs"]), 2, "the number of alternatives")


def _parts(server: Server) -> None:
    parts: list[Any] = [{"type": "text", "text": GREETING}]
    plain = whole(server, request(server, GREETING))
    in_parts = whole(server, request(server, "", messages=[{"role": "user", "content": parts}]))
    equal(in_parts.usage.prompt_tokens, plain.usage.prompt_tokens, "prompt_tokens of text parts")


def _system(server: Server) -> None:
    plain = whole(server, request(server, GREETING)).usage.prompt_tokens
    for role in ("system", "developer"):
        turns = [{"role": role, "content": "Be brief."}, {"role": "user", "content": GREETING}]
        told = whole(server, request(server, "", messages=turns)).usage.prompt_tokens
        expect(told > plain - 20, f"a {role} message takes the prompt from {plain} to {told}")


def _extras(server: Server) -> None:
    known = {"user": "u-1", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    whole(server, request(server, GREETING, **known))


def _image(server: Server) -> None:
    url = {"url": f"data:image/png;base64,{PIXEL}"}
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
    reply = server.post(PATH, request(server, "", messages=[{"role": "user", "content": parts}]))
    check_offered(reply)
    if reply.status == 200:
        plain = whole(server, request(server, "What is this?")).usage.prompt_tokens
        seen = reply.json()["usage"]["prompt_tokens"]
        expect(seen > plain, "the picture was left out without a word")
    else:
        refusal(reply, 400, 415, 422)


def _models(server: Server) -> None:
    reply = server.get("/v1/models")
    check_offered(reply)
    listed = reply.json()
    equal(listed.get("object"), "list", "object")
    one_of(server.model, [row.get("id") for row in listed["data"]], "the model asked for")
    equal({row.get("object") for row in listed["data"]}, {"model"}, "the rows' object")


CASES = cases(
    "chat",
    models_are_listed=_models,
    an_answer_has_every_field=_answer,
    usage_adds_up=_usage,
    the_token_limit_is_kept_and_told=_token_limit,
    a_stop_string_ends_the_text_before_it=_stop,
    a_seed_repeats_the_answer=_seed,
    a_json_schema_is_kept=_json_schema,
    a_json_object_is_one=_json_object,
    n_gives_so_many_choices=_choices,
    log_probabilities_cover_every_token=_logprobs,
    text_parts_are_the_same_as_text=_parts,
    system_and_developer_messages_are_taken=_system,
    fields_that_only_OpenAI_uses_are_accepted=_extras,
    an_image_is_seen_or_refused=_image,
)
