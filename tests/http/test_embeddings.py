"""Embeddings over a real server process: the official client, and one that leaves."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import openai
import pytest

from tests.http.scripted_fleet import MODEL, ScriptedFleet, say_nothing
from tests.http.server_process import ServerProcess
from transports.link import IncomingRequest
from transports.schemas.generate import Embed, EmbedDone
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


def vector(number: int) -> tuple[float, float]:
    return (float(number), -0.5)


def embed(request: IncomingRequest) -> None:
    assert isinstance(request.body, Embed)
    rows = [struct.pack("<2f", *vector(number)) for number in range(len(request.body.inputs))]
    request.complete(EmbedDone(2, prompt_tokens=9), (b"".join(rows),))


def test_the_official_client_gets_its_vectors_in_order(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = embed
    answer = client.embeddings.create(model=MODEL, input=["a", "b", "c"])

    assert [tuple(each.embedding) for each in answer.data] == [vector(n) for n in range(3)]
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 9
    settled = fleet.daemon.settled.get(timeout=5.0)
    assert (settled.outcome, settled.prompt_tokens, settled.completion_tokens) == (
        "completed",
        9,
        0,
    )


def test_the_engines_refusal_reaches_the_client_as_its_own_error(
    client: openai.OpenAI, fleet: ScriptedFleet
) -> None:
    failure = Failure("context_length_exceeded", "maximum context length is 4 tokens", "input")
    fleet.engine.on_generate = lambda request: request.fail(failure)
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="a long text")

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")


def test_an_answer_without_vectors_is_an_error(client: openai.OpenAI, fleet: ScriptedFleet) -> None:
    fleet.engine.on_generate = lambda request: request.complete(EmbedDone(2, 9))
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model=MODEL, input="a")


def test_an_engine_that_is_lost_is_asked_again(client: openai.OpenAI, fleet: ScriptedFleet) -> None:
    leases = 0

    def grant_or_lose(request: IncomingRequest) -> None:
        nonlocal leases
        leases += 1
        fleet.engine.on_generate = embed if leases > 1 else _close_link
        fleet.daemon.grant(request)

    fleet.daemon.on_lease = grant_or_lose
    answer = client.embeddings.create(model=MODEL, input="a")

    assert tuple(answer.data[0].embedding) == vector(0)
    assert leases == 2


def _close_link(request: IncomingRequest) -> None:
    request.link.close("stopped")


def test_a_client_that_leaves_is_cancelled(server: ServerProcess, fleet: ScriptedFleet) -> None:
    fleet.engine.on_generate = say_nothing
    payload = json.dumps({"model": MODEL, "input": "a"}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 5.0) as sock:
        sock.sendall(head.encode() + payload)
        fleet.engine.asked.get(timeout=5.0)

    assert fleet.engine.cancelled.get(timeout=5.0) == "client_gone"
    assert fleet.daemon.settled.get(timeout=5.0).outcome == "cancelled"
