"""What becomes of a generation that nobody reads any more, in every dialect."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from cortex_actors.cli.conformance import chat_api, messages_api, responses_api
from cortex_actors.cli.conformance.case import Case, NotOffered, expect
from cortex_actors.cli.conformance.prompts import COUNT, GREETING
from cortex_actors.cli.conformance.server import Server

STREAMS: Final = 300
"""More than a server has seats: vLLM's default is 256, llama-server's and ours are fewer."""

_LONG: Final = 3000
_AGAIN_S: Final = 3.0
"""How much longer an answer may take after streams were left."""

_PAUSE_S: Final = 0.1
_BUSY: Final = frozenset({429, 503})

Ask = Callable[[Server, str, int], dict[str, Any]]


def abandoned(
    path: str, ask: Ask, streams: int = STREAMS, again_s: float = _AGAIN_S
) -> Callable[[Server], None]:
    """Return the check that ``streams`` long ones, left one after another, are not in the way.

    A server that goes on with them runs out of seats, however many it has below ``streams``.
    """

    def check(server: Server) -> None:
        short = ask(server, GREETING, 4)
        began = time.monotonic()
        if server.post(path, short).status in {404, 405, 501}:
            raise NotOffered("HTTP 404")
        alone_s = time.monotonic() - began
        patience_s = 3 * alone_s + again_s
        long = {**ask(server, COUNT, _LONG), "stream": True}
        for left in range(streams):
            _in_time(lambda: _leave(server, path, long), left, "the next stream", patience_s)
        _in_time(lambda: server.post(path, short).status, streams, "a short answer", patience_s)

    return check


def _leave(server: Server, path: str, body: dict[str, Any]) -> int:
    """Return a stream's status; read its first bytes and no more."""
    with server.streaming(path, body) as response:
        next(response.iter_bytes(), b"")
        return response.status_code


def _in_time(ask: Callable[[], int], left: int, what: str, patience_s: float) -> None:
    """Ask until it is not refused for the moment; all together may take ``patience_s``."""
    began = time.monotonic()
    status = ask()
    while status in _BUSY and time.monotonic() - began < patience_s:
        time.sleep(_PAUSE_S)
        status = ask()
    took_s = time.monotonic() - began
    expect(status == 200, f"after {left} streams were left the status of {what} is {status}")
    expect(took_s < patience_s, f"after {left} streams were left {what} took {took_s:.1f} s")


def _chat(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return chat_api.request(server, text, max_tokens=tokens)


def _messages(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return messages_api.request(server, text, max_tokens=tokens)


def _responses(server: Server, text: str, tokens: int) -> dict[str, Any]:
    return responses_api.request(server, text, max_output_tokens=tokens)


_NAME: Final = "streams that are left free the server"
CASES = (
    Case("chat", _NAME, abandoned(chat_api.PATH, _chat)),
    Case("messages", _NAME, abandoned(messages_api.PATH, _messages)),
    Case("responses", _NAME, abandoned(responses_api.PATH, _responses)),
)
