"""What the mock engine and the bare server say, and how it is asked for; pure."""

from __future__ import annotations

from typing import Final

import msgspec

FAST: Final = "mock"
"""Answers at once."""
SLOW: Final = "slow"
"""Says a piece every ``GAP_S``."""
MODELS: Final = (FAST, SLOW)

PROMPT_TOKENS: Final = 8
GAP_S: Final = 0.5
MARK: Final = b" tok"
"""Begins the text of every token, and stands nowhere else in a response."""


def pieces_of(model: str, max_tokens: int | None) -> tuple[str, ...]:
    """Return the texts of so many tokens."""
    del model
    return tuple(f" tok{index:02d}" for index in range(max_tokens or 1))


def chat_request(host: str, *, model: str, tokens: int, streamed: bool) -> bytes:
    """Return the bytes of one request on a connection that is kept."""
    body = msgspec.json.encode(
        {
            "model": model,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": tokens,
            "stream": streamed,
        }
    )
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Authorization: Bearer none",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", "")).encode() + body
