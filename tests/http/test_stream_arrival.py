"""Text on its way through a real server: at once, piece by piece, as it is, in every dialect."""

from __future__ import annotations

import json
import queue
from functools import partial
from typing import Any

import httpx
import pytest

from tests.http.scripted_fleet import MODEL, ScriptedFleet, say
from tests.http.server_process import ServerProcess
from transports.link import IncomingRequest
from transports.schemas.generate import GenerateDone

pytestmark = pytest.mark.process

USER = [{"role": "user", "content": "Hi"}]
PIECES = ("One ", " two\n", "\n\nthree: ü", "data: 4\n\n", ' <five> "')
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": USER, "max_tokens": 9},
}
LAST = {
    "/v1/chat/completions": "[DONE]",
    "/v1/completions": "[DONE]",
    "/v1/responses": "response.completed",
    "/v1/messages": "message_stop",
}


def text_of(path: str, event: dict[str, Any]) -> str:
    """Return what an event adds to the answer."""
    text: str = ""
    match path, event:
        case "/v1/chat/completions", {"choices": [{"delta": {"content": str(text)}}]}:
            pass
        case "/v1/completions", {"choices": [{"text": text}]}:
            pass
        case "/v1/responses", {"type": "response.output_text.delta", "delta": text}:
            pass
        case "/v1/messages", {"delta": {"type": "text_delta", "text": text}}:
            pass
        case _:
            pass
    return text


@pytest.mark.parametrize("path", REQUESTS)
def test_each_piece_arrives_before_the_next_is_said(
    server: ServerProcess, fleet: ScriptedFleet, path: str
) -> None:
    """S01 and S02."""
    asked: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
    fleet.engine.on_generate = asked.put
    body = {"model": MODEL, "stream": True, **REQUESTS[path]}
    with (
        httpx.Client(trust_env=False, timeout=20.0) as client,
        client.stream("POST", server.url + path, json=body) as answer,
    ):
        request = asked.get(timeout=5.0)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        data = (
            line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")
        )
        for index, piece in enumerate(PIECES):
            fleet.reactor.call_soon(partial(say, request, index, piece))
            while not (text := text_of(path, json.loads(next(data)))):
                pass
            assert text == piece
        done = GenerateDone("stop", prompt_tokens=5, completion_tokens=len(PIECES))
        fleet.reactor.call_soon(lambda: request.complete(done))
        *_, last = data
    assert last == LAST[path] or json.loads(last)["type"] == LAST[path]
