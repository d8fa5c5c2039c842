"""The official client's Responses API against a real server process and a scripted engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseInputItemParam, ToolParam
from pydantic import BaseModel

from tests.http.scripted_fleet import MODEL, ScriptedFleet, say, say_hello
from tests.http.server_process import ServerProcess, server_process
from transports.link import IncomingRequest
from transports.schemas.generate import Generate, GenerateDone, TextDelta, ToolCallDelta
from transports.schemas.link import Failure

pytestmark = pytest.mark.process

WEATHER: ToolParam = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def store_file(tmp_path: Path) -> Path:
    return tmp_path / "responses.sqlite"


@pytest.fixture
def server(fleet: ScriptedFleet, store_file: Path) -> Iterator[ServerProcess]:
    options = (f"--responses-file={store_file}", "--workers=2")
    with server_process(fleet.endpoint, *options) as server_:
        server_.await_ready()
        yield server_


@pytest.fixture
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="unused",
        base_url=f"{server.url}/v1",
        max_retries=0,
        timeout=10.0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client_:
        yield client_


def messages_of(fleet: ScriptedFleet) -> list[dict[str, Any]]:
    question = fleet.engine.asked.get(timeout=5.0)
    assert isinstance(question, Generate)
    return question.messages


def test_a_conversation_that_the_server_remembers(
    client: openai.OpenAI, fleet: ScriptedFleet, store_file: Path
) -> None:
    first = client.responses.create(model=MODEL, input="Hi", instructions="Be brief.")
    assert (first.status, first.output_text) == ("completed", "Hello")
    assert first.usage is not None
    assert first.usage.total_tokens == 7
    assert messages_of(fleet) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]

    with client.responses.stream(
        model=MODEL, input="And?", previous_response_id=first.id
    ) as stream:
        kinds = [event.type for event in stream]
        second = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert second.output_text == "Hello"
    # Instructions are not carried over.
    assert messages_of(fleet) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ]

    assert client.responses.retrieve(first.id).output_text == "Hello"
    (item,) = client.responses.input_items.list(second.id).data
    assert item.type == "message"
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as gone:
        client.responses.create(model=MODEL, input="And?", previous_response_id=second.id)
    assert gone.value.code == "previous_response_not_found"
    assert gone.value.param == "previous_response_id"

    unkept = client.responses.create(model=MODEL, input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)

    store_file.write_bytes(b"no database" * 1000)
    for beside in store_file.parent.glob("responses.sqlite-*"):
        beside.unlink()
    whole = client.responses.create(model=MODEL, input="Hi")
    assert whole.output_text == "Hello"


def call_a_tool(request: IncomingRequest) -> None:
    """Think, call a tool in two pieces, and end."""
    pieces = (
        TextDelta("", 0, (1,), reasoning="Hm."),
        TextDelta("", 1, (2,), tool_calls=(ToolCallDelta(0, "call_1", "weather", '{"city": '),)),
        TextDelta("", 2, (3,), tool_calls=(ToolCallDelta(0, arguments='"Oslo"}'),)),
    )
    request.link.publish([(request, piece) for piece in pieces])
    request.complete(GenerateDone("tool_calls", 5, 4, cached_tokens=2, reasoning_tokens=1))


def test_a_tool_is_called_and_its_output_sent_back(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = call_a_tool
    items: list[ResponseInputItemParam] = [{"role": "user", "content": "Weather?"}]
    whole = client.responses.create(model=MODEL, input=list(items), tools=[WEATHER])
    with client.responses.stream(model=MODEL, input=list(items), tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_response()
    reasoning, call = streamed.output
    assert reasoning.type == "reasoning"
    assert reasoning.content is not None
    assert reasoning.content[0].text == "Hm."
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city": "Oslo"}')
    assert streamed.usage == whole.usage
    assert streamed.usage is not None
    assert streamed.usage.input_tokens_details.cached_tokens == 2
    assert streamed.usage.output_tokens_details.reasoning_tokens == 1

    fleet.engine.on_generate = say_hello
    output: list[Any] = [item.to_dict() for item in whole.output]
    answer: ResponseInputItemParam = {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "Rain.",
    }
    client.responses.create(model=MODEL, input=[*items, *output, answer], tools=[WEATHER])
    for _ in range(2):
        messages_of(fleet)
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert messages_of(fleet) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]


class City(BaseModel):
    """What is parsed."""

    name: str


def test_structured_output_and_one_that_was_cut(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    def say_json(request: IncomingRequest) -> None:
        say(request, 0, '{"name": "Oslo"}')
        request.complete(GenerateDone("stop", 5, 4))

    fleet.engine.on_generate = say_json
    parsed = client.responses.parse(model=MODEL, input="Where?", text_format=City)
    assert parsed.output_parsed == City(name="Oslo")
    question = fleet.engine.asked.get(timeout=5.0)
    assert isinstance(question, Generate)
    assert question.constraint is not None
    assert question.constraint.kind == "json_schema"

    def say_half(request: IncomingRequest) -> None:
        say(request, 0, "Hel")
        request.complete(GenerateDone("length", 5, 1))

    fleet.engine.on_generate = say_half
    cut = client.responses.create(model=MODEL, input="Hi", max_output_tokens=1)
    assert (cut.status, cut.output_text) == ("incomplete", "Hel")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    *_, last = client.responses.create(model=MODEL, input="Hi", stream=True)
    assert last.type == "response.incomplete"
    assert last.response.usage == cut.usage


def test_failures_are_the_clients_own_errors_or_a_failed_response(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="nope", input="Hi")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as background:
        client.responses.create(model=MODEL, input="Hi", background=True)
    assert background.value.code == "unsupported_parameter"

    fleet.engine.on_generate = lambda request: request.fail(Failure("overloaded", "full"))
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=MODEL, input="Hi", stream=True)

    def fail_midway(request: IncomingRequest) -> None:
        say(request, 0, "Hel")
        request.fail(Failure("step_failed", "rank 0 is gone"))

    fleet.engine.on_generate = fail_midway
    *_, last = client.responses.create(model=MODEL, input="Hi", stream=True)
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error is not None
    assert last.response.error.message == "rank 0 is gone"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)
