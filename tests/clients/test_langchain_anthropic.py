"""LangChain's ChatAnthropic."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.questions import PIXEL, TIME_TOOL, WEATHER_TOOL, Person
from tests.clients.scripts import GREETING, PERSON, REPORT, TIME_CALL, WEATHER_CALL

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def chat(stack: ScriptedStack) -> Any:
    make: Any = ChatAnthropic
    return make(
        base_url=stack.url, api_key="none", model_name=MODEL, max_retries=0, max_tokens=4096
    )


def test_a_chat_and_its_stream_say_the_same(chat: Any) -> None:
    whole = chat.invoke("Hi")
    pieces = list(chat.stream("Hi"))

    assert whole.content == GREETING
    assert "".join(piece.text for piece in pieces) == GREETING
    assert whole.response_metadata["stop_reason"] == "end_turn"
    assert whole.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_round_trip(chat: Any, streamed: bool) -> None:
    tools = chat.bind_tools([WEATHER_TOOL, TIME_TOOL])
    messages: list[Any] = [HumanMessage("Tell me the weather and time in Paris.")]
    if streamed:
        first, *rest = tools.stream(messages)
        asked = sum(rest, first)
    else:
        asked = tools.invoke(messages)
    results = [ToolMessage("21", tool_call_id=call["id"]) for call in asked.tool_calls]
    last = tools.invoke([*messages, asked, *results])

    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [
        (each["name"], each["arguments"]) for each in (WEATHER_CALL, TIME_CALL)
    ]
    assert last.content == REPORT


def test_an_unknown_model_is_not_found(chat: Any) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        chat.bind(model="nobody").invoke("Hi")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_an_object_of_the_asked_type(chat: Any, method: str) -> None:
    question = {"json_schema": "Ada, as JSON", "function_calling": "Ada, as a call"}
    structured = chat.with_structured_output(Person, method=method)

    assert structured.invoke(question[method]) == Person.model_validate(PERSON)


def test_an_image_is_refused(chat: Any) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    image = {"type": "image", "source": source}

    with pytest.raises(anthropic.BadRequestError, match="image"):
        chat.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, image])])


def test_a_stream_that_nobody_reads_on_frees_the_engine(chat: Any, stack: ScriptedStack) -> None:
    with stack.one_cancelled():
        stream = chat.stream("Count")
        next(stream)
        stream.close()
