"""Texts that no context holds: each is refused in its API's words, and nobody else notices."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.fleet import EMBEDDER, MODEL, Fleet

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(240)]

HOPELESS = "This is a sentence. " * 300_000
"""6 MB, which is not even tokenized."""

TOKENIZED = "This is a sentence. " * 25_000
"""500 kB: few enough characters to fit in theory, so its tokens are counted."""

KNOWN_LIMIT = "maximum context length is 8192 tokens"
TURN: Any = {"role": "user", "content": "Count from one to a thousand."}


def post(fleet: Fleet, path: str, body: dict[str, Any]) -> httpx.Response:
    return fleet.http.post(path, json={"model": MODEL, **body}, timeout=120.0)


def test_a_stream_goes_on_while_texts_that_cannot_fit_are_refused(fleet: Fleet) -> None:
    engine, ranks = fleet.engine(), fleet.ranks()
    stream: Any = fleet.client().chat.completions.create(
        model=MODEL, messages=[TURN], max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = iter(stream)
    assert next(chunks).choices

    for text in (HOPELESS, TOKENIZED):
        turn = {"role": "user", "content": text}
        chat = post(fleet, "/v1/chat/completions", {"messages": [turn]})
        completion = post(fleet, "/v1/completions", {"prompt": text})
        message = post(fleet, "/v1/messages", {"messages": [turn], "max_tokens": 5})
        for answer, param in ((chat, "messages"), (completion, "prompt")):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "context_length_exceeded"), error
            assert error["param"] == param
            assert KNOWN_LIMIT in error["message"]
        assert message.status_code == 400
        assert message.json()["error"]["type"] == "invalid_request_error"

    turn = {"role": "user", "content": HOPELESS}
    count = post(fleet, "/v1/messages/count_tokens", {"messages": [turn], "model": "small"})
    assert (count.status_code, count.json()["type"]) == (400, "error")
    assert KNOWN_LIMIT in count.json()["error"]["message"]

    rest = [choice for chunk in chunks for choice in chunk.choices]
    assert rest[-1].finish_reason == "length"
    assert fleet.engine() == engine
    assert fleet.ranks() == ranks


def test_an_input_that_cannot_fit_leaves_the_embedder_alone(fleet: Fleet) -> None:
    def embed(text: str) -> httpx.Response:
        return fleet.http.post("/v1/embeddings", json={"model": EMBEDDER, "input": text})

    assert embed("hi").status_code == 200
    (rank,) = fleet.ranks(EMBEDDER)
    refused = embed(HOPELESS)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert "maximum context length" in refused.json()["error"]["message"]
    assert embed("hi").status_code == 200
    assert fleet.ranks(EMBEDDER) == [rank]
