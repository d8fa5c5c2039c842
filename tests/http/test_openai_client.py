"""The official client against a real server process, a scripted daemon and a scripted engine."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.http.scripted_fleet import MODEL, ScriptedFleet, say, say_hello
from tests.http.server_process import ServerProcess
from transports.link import IncomingRequest
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
        request.fail(Failure("worker_died", "rank 0 is gone"))

    fleet.engine.on_generate = fail_midway
    seen: list[str] = []
    stream = ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True)
    with pytest.raises(openai.APIError, match="rank 0 is gone"):
        seen.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(seen) == "Hel"

    fleet.engine.on_generate = say_hello
    whole = ask(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert whole.choices[0].message.content == "Hello"
