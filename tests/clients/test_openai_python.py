"""The official openai package for Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.questions import PIXEL, TIME_TOOL, WEATHER_TOOL, Person
from tests.clients.scripts import (
    ANSWER,
    GREETING,
    NUMBERS,
    PERSON,
    REPORT,
    THOUGHT,
    TIME_CALL,
    WEATHER_CALL,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

TOOLS = [{"type": "function", "function": tool} for tool in (WEATHER_TOOL, TIME_TOOL)]


@pytest.fixture(scope="module")
def client(stack: ScriptedStack) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_a_chat_and_its_stream_say_the_same(client: Any) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=said("Hi"))
    with client.chat.completions.stream(
        model=MODEL, messages=said("Hi"), stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()

    assert whole.choices[0].message.content == GREETING
    assert "".join(deltas) == final.choices[0].message.content == GREETING
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert final.usage.completion_tokens == whole.usage.completion_tokens > 0


def test_reasoning_comes_apart_from_the_answer(client: Any) -> None:
    question = said("What is the meaning of life?")
    message = client.chat.completions.create(model=MODEL, messages=question).choices[0].message
    chunks = list(client.chat.completions.create(model=MODEL, messages=question, stream=True))
    thoughts = [getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks]

    assert (message.reasoning_content, message.content) == (THOUGHT, ANSWER)
    assert "".join(thoughts) == THOUGHT
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == ANSWER


def test_tools_round_trip_whole(client: Any) -> None:
    messages = said("Tell me the weather and time in Paris.")
    choice = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0]
    calls = choice.message.tool_calls
    results = [{"role": "tool", "tool_call_id": call.id, "content": "21"} for call in calls]
    history = [*messages, choice.message.model_dump(exclude_none=True), *results]
    last = client.chat.completions.create(model=MODEL, messages=history, tools=TOOLS).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        (each["name"], each["arguments"]) for each in (WEATHER_CALL, TIME_CALL)
    ]
    assert (last.message.content, last.finish_reason) == (REPORT, "stop")


def test_tools_streamed_arrive_as_the_sdk_gathers_them(client: Any) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=said("What is the weather in Paris?"), tools=TOOLS
    ) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls

    assert [(event.name, json.loads(event.arguments)) for event in done] == [
        (WEATHER_CALL["name"], WEATHER_CALL["arguments"])
    ]
    assert call.id
    assert json.loads(call.function.arguments) == WEATHER_CALL["arguments"]


def test_parse_gives_an_object_of_the_asked_type(client: Any) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=said("Ada, as JSON"), response_format=Person
    )

    assert answer.choices[0].message.parsed == Person.model_validate(PERSON)


def test_an_image_is_refused_and_not_ignored(client: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "What is this?"}, image]

    with pytest.raises(openai.BadRequestError, match="image_url") as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])

    assert refused.value.param == "messages[0].content[1]"


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": "hot"}, openai.BadRequestError, "invalid_value"),
        ({"messages": said("far " * 9000)}, openai.BadRequestError, "context_length_exceeded"),
    ],
)
def test_errors_are_the_sdks_own(
    client: Any, options: dict[str, Any], error: type[openai.APIStatusError], code: str
) -> None:
    request: dict[str, Any] = {"model": MODEL, "messages": said("Hi"), **options}

    with pytest.raises(error) as raised:
        client.chat.completions.create(**request)

    assert raised.value.code == code
    assert raised.value.request_id


def test_a_route_that_is_not_there_is_the_sdks_not_found(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.images.generate(prompt="a cat", model=MODEL)

    assert raised.value.type == "invalid_request_error"


def test_models_are_listed(client: Any) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_completions_and_their_stream_say_the_same(client: Any) -> None:
    whole = client.completions.create(model=MODEL, prompt="Count", max_tokens=20)
    stream = client.completions.create(model=MODEL, prompt="Count", max_tokens=20, stream=True)

    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    assert whole.choices[0].text == NUMBERS[:20]
    assert whole.choices[0].finish_reason == "length"


def test_closing_a_stream_frees_the_engine(client: Any, stack: ScriptedStack) -> None:
    with stack.one_cancelled():
        stream = client.chat.completions.create(model=MODEL, messages=said("Count"), stream=True)
        next(iter(stream))
        stream.close()
