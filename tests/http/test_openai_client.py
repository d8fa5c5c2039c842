"""The official client against a real server process, a scripted daemon and a scripted engine."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionToolUnionParam,
)

from tests.http.scripted_fleet import MODEL, ScriptedFleet, say, say_hello
from tests.http.server_process import ServerProcess
from transports.link import IncomingRequest
from transports.schemas.generate import (
    Generate,
    GenerateDone,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from transports.schemas.link import Failure

pytestmark = pytest.mark.process


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


def test_a_conversation(client: openai.OpenAI, fleet: ScriptedFleet, server: ServerProcess) -> None:
    ask = client.chat.completions.create
    whole = ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert whole.choices[0].message.content == "Hello"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 7

    stream = ask(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello"
    assert chunks[-1].usage == whole.usage
    assert [fleet.daemon.settled.get(timeout=5.0).outcome for _ in range(2)] == ["completed"] * 2
    assert [model.id for model in client.models.list()] == [MODEL]
    assert "request id=" in server.log()
    assert "status=200" in server.log()


def test_failures_reach_the_client_as_its_own_error_types(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    ask = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(model="nope", messages=[{"role": "user", "content": "Hi"}])
    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as hot:
        ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}], temperature=3)
    assert hot.value.param == "temperature"

    fleet.engine.on_generate = lambda request: request.fail(Failure("overloaded", "full"))
    with pytest.raises(openai.RateLimitError):
        ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True)

    def fail_midway(request: IncomingRequest) -> None:
        say(request, 0, "Hel")
        request.fail(Failure("step_failed", "rank 0 is gone"))

    fleet.engine.on_generate = fail_midway
    seen: list[str] = []
    stream = ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True)
    with pytest.raises(openai.APIError, match="rank 0 is gone"):
        seen.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(seen) == "Hel"

    fleet.engine.on_generate = say_hello
    whole = ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert whole.choices[0].message.content == "Hello"


def question_of(fleet: ScriptedFleet) -> Generate:
    question = fleet.engine.asked.get(timeout=5.0)
    assert isinstance(question, Generate)
    return question


def call_a_tool(request: IncomingRequest) -> None:
    """Think, call a tool in two pieces, and end."""
    pieces = (
        TextDelta("", 0, (1,), reasoning="Hm."),
        TextDelta("", 1, (2,), tool_calls=(ToolCallDelta(0, "call_1", "weather", '{"city": '),)),
        TextDelta("", 2, (3,), tool_calls=(ToolCallDelta(0, arguments='"Oslo"}'),)),
    )
    request.link.publish([(request, piece) for piece in pieces])
    request.complete(GenerateDone("tool_calls", 5, 4, cached_tokens=2, reasoning_tokens=1))


def test_a_tool_is_called_streamed_and_whole(client: openai.OpenAI, fleet: ScriptedFleet) -> None:
    fleet.engine.on_generate = call_a_tool
    ask = client.chat.completions.create
    tool: ChatCompletionToolUnionParam = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
    }
    whole = ask(model=MODEL, messages=[{"role": "user", "content": "Weather?"}], tools=[tool])
    message = whole.choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert call.function.arguments == '{"city": "Oslo"}'
    assert message.content is None
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 2

    assert question_of(fleet).tools == (tool,)
    made: ChatCompletionMessageFunctionToolCallParam = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": call.function.arguments},
    }
    with client.chat.completions.stream(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
        ],
        tools=[tool],
        stream_options={"include_usage": True},
    ) as stream:
        final = stream.get_final_completion()
    streamed = final.choices[0].message
    assert streamed.tool_calls is not None
    assert streamed.tool_calls[0].function.arguments == '{"city": "Oslo"}'
    assert final.usage == whole.usage
    assert question_of(fleet).messages[1]["tool_calls"][0]["id"] == "call_1"


def answer_twice(request: IncomingRequest) -> None:
    """Give two choices with log probabilities."""
    token = TokenLogprob("Hi", -0.1, b"Hi", (TopLogprob("Ho", -2.5, b"Ho"),))
    pieces = (
        TextDelta("Hi", 0, (1,), choice=0, logprobs=(token,)),
        TextDelta("Ho", 0, (2,), choice=1, logprobs=(token,)),
    )
    request.link.publish([(request, piece) for piece in pieces])
    request.complete(GenerateDone("stop", 5, 2, finish_reasons=("stop", "length")))


def test_several_choices_with_log_probabilities(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = answer_twice
    chat = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        n=2,
        logprobs=True,
        top_logprobs=1,
    )
    assert [choice.message.content for choice in chat.choices] == ["Hi", "Ho"]
    assert [choice.finish_reason for choice in chat.choices] == ["stop", "length"]
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].top_logprobs[0].token == "Ho"

    plain = client.completions.create(model=MODEL, prompt="Once", n=2, logprobs=1)
    assert [choice.text for choice in plain.choices] == ["Hi", "Ho"]
    assert plain.choices[0].logprobs is not None
    assert plain.choices[0].logprobs.top_logprobs == [{"Ho": -2.5, "Hi": -0.1}]
    asked = [question_of(fleet) for _ in range(2)]
    assert [(question.n, question.prompt) for question in asked] == [(2, None), (2, "Once")]

    parts = client.completions.create(model=MODEL, prompt=[1, 2], n=2, stream=True)
    texts = {0: "", 1: ""}
    for part in parts:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == {0: "Hi", 1: "Ho"}
