"""Whose API a request speaks, where its path alone does not say."""

from __future__ import annotations

from typing import Final

import falcon

_ANTHROPIC: Final = ("/v1/messages",)
_OPENAI: Final = ("/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/responses")


def is_anthropic(path: str, version: str | None) -> bool:
    """Say whether the client expects Anthropic's objects and errors.

    Both have ``/v1/models``, and a client can ask for what is in neither; only Anthropic's clients
    name a ``version``.
    """
    if path.startswith(_ANTHROPIC):
        return True
    return version is not None and not path.startswith(_OPENAI)


def asks_anthropic(req: falcon.Request) -> bool:
    """Say the same of a request."""
    return is_anthropic(req.path, req.get_header("anthropic-version"))
