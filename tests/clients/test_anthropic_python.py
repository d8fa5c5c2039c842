"""The official anthropic package for Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
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

TOOLS = [
    {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}
    for tool in (WEATHER_TOOL, TIME_TOOL)
]
LIMIT = 4096


@pytest.fixture(scope="module")
def client(stack: ScriptedStack) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=stack.url, api_key="none", max_retries=0) as client:
        yield client


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def ask(client: Any, text: str, **options: Any) -> Any:
    return client.messages.create(model=MODEL, max_tokens=LIMIT, messages=said(text), **options)


def test_a_message_and_its_stream_say_the_same(client: Any) -> None:
    whole = ask(client, "Hi")
    with client.messages.stream(model=MODEL, max_tokens=LIMIT, messages=said("Hi")) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()

    assert [block.text for block in whole.content] == ["".join(pieces)] == [GREETING]
    assert final.content[0].text == GREETING
    assert (final.stop_reason, whole.stop_reason) == ("end_turn", "end_turn")
    assert final.usage.output_tokens == whole.usage.output_tokens > 0
    assert whole.id.startswith("msg_")


def test_thinking_comes_in_a_block_of_its_own_and_can_be_sent_back(client: Any) -> None:
    question = said("What is the meaning of life?")
    options = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    whole = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=question, **options)
    with client.messages.stream(
        model=MODEL, max_tokens=LIMIT, messages=question, **options
    ) as stream:
        streamed = stream.get_final_message()

    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert (whole.content[0].thinking, whole.content[1].text) == (THOUGHT, ANSWER)
    assert streamed.content[0] == whole.content[0]
    assert streamed.content[1].text == ANSWER
    history = [*question, {"role": "assistant", "content": whole.content}, *said("Hi")]
    again = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=history)
    assert again.content[-1].text == ANSWER


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_round_trip(client: Any, streamed: bool) -> None:
    messages = said("Tell me the weather and time in Paris.")
    request = {"model": MODEL, "max_tokens": LIMIT, "tools": TOOLS}
    if streamed:
        with client.messages.stream(messages=messages, **request) as stream:
            asked = stream.get_final_message()
    else:
        asked = client.messages.create(messages=messages, **request)
    uses = [block for block in asked.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "21"} for use in uses]
    history = [
        *messages,
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": results},
    ]
    last = client.messages.create(messages=history, **request)

    assert asked.stop_reason == "tool_use"
    assert [(use.name, use.input) for use in uses] == [
        (each["name"], each["arguments"]) for each in (WEATHER_CALL, TIME_CALL)
    ]
    assert (last.content[0].text, last.stop_reason) == (REPORT, "end_turn")


def test_parse_gives_an_object_of_the_asked_type(client: Any) -> None:
    answer = client.messages.parse(
        model=MODEL, max_tokens=LIMIT, messages=said("Ada, as JSON"), output_format=Person
    )

    assert answer.parsed_output == Person.model_validate(PERSON)


def test_stop_sequences_are_named(client: Any) -> None:
    stopped = ask(client, "Count", stop_sequences=[" 5 "])

    assert stopped.content[0].text == "0 1 2 3 4"
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " 5 ")
    cut = client.messages.create(model=MODEL, max_tokens=20, messages=said("Count"))
    assert (cut.content[0].text, cut.stop_reason) == (NUMBERS[:20], "max_tokens")


def test_tokens_are_counted_as_they_are_used(client: Any) -> None:
    prompt = {"model": MODEL, "system": "Be kind.", "messages": said("Hi"), "tools": TOOLS}
    counted = client.messages.count_tokens(**prompt)
    usage = client.messages.create(max_tokens=LIMIT, **prompt).usage

    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_images_are_refused_and_not_ignored(client: Any) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]

    with pytest.raises(anthropic.BadRequestError, match="image"):
        client.messages.create(
            model=MODEL, max_tokens=LIMIT, messages=[{"role": "user", "content": content}]
        )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError),
        ({"stop_sequences": [""]}, anthropic.BadRequestError),
        ({"messages": said("far " * 9000)}, anthropic.BadRequestError),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, anthropic.BadRequestError),
    ],
)
def test_errors_are_the_sdks_own(
    client: Any, options: dict[str, Any], error: type[anthropic.APIStatusError]
) -> None:
    request: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": said("Hi"), **options}

    with pytest.raises(error) as raised:
        client.messages.create(**request)

    assert raised.value.request_id
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["type"] == "error"


def test_closing_a_stream_frees_the_engine(client: Any, stack: ScriptedStack) -> None:
    with (
        stack.one_cancelled(),
        client.messages.stream(model=MODEL, max_tokens=LIMIT, messages=said("Count")) as stream,
    ):
        next(iter(stream.text_stream))


def test_models_are_listed(client: Any) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).display_name == MODEL
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nope")


def test_models_are_listed_over_several_pages(client: Any) -> None:
    everything = [model.id for model in client.models.list()]
    assert [model.id for model in client.models.list(limit=1)] == everything
