"""What becomes of a generation that nobody reads any more, in every dialect."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from cortex_actors.cli.conformance import chat_api, messages_api, responses_api
from cortex_actors.cli.conformance.case import Case, NotOffered, expect
from cortex_actors.cli.conformance.prompts import COUNT, GREETING
from cortex_actors.cli.conformance.server import Server

_STREAMS: Final = 12
_LONG: Final = 3000
_AGAIN_S: Final = 3.0
"""How much longer a short answer may take after the streams were left."""

Ask = Callable[[Server, str, int], dict[str, Any]]


def _abandoned(path: str, ask: Ask) -> Callable[[Server], None]:
    def check(server: Server) -> None:
        short = ask(server, GREETING, 4)
        began = time.monotonic()
        if server.post(path, short).status in {404, 405, 501}:
            raise NotOffered("HTTP 404")
        alone_s = time.monotonic() - began
        with ExitStack() as streams:
            for _ in range(_STREAMS):
                body = {**ask(server, COUNT, _LONG), "stream": True}
                response = streams.enter_context(server.streaming(path, body))
                expect(response.status_code == 200, f"a stream's status is {response.status_code}")
                next(response.iter_bytes(), b"")
        began = time.monotonic()
        expect(server.post(path, short).status == 200, "the next request is refused")
        took_s = time.monotonic() - began
        expect(
            took_s < 3 * alone_s + _AGAIN_S,
            f"after {_STREAMS} streams were left a short answer took {took_s:.1f} s"
            f" instead of {alone_s:.1f} s",
        )

    return check


def _chat(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return chat_api.request(server, text, max_tokens=tokens)


def _messages(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return messages_api.request(server, text, max_tokens=tokens)


def _responses(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return responses_api.request(server, text, max_output_tokens=tokens)


_NAME: Final = "streams that are left free the server"
CASES = (
    Case("chat", _NAME, _abandoned(chat_api.PATH, _chat)),
    Case("messages", _NAME, _abandoned(messages_api.PATH, _messages)),
    Case("responses", _NAME, _abandoned(responses_api.PATH, _responses)),
)
