"""Whose API a request speaks, where its path alone does not say."""

from __future__ import annotations

from typing import Final

import falcon

_ANTHROPIC: Final = ("/v1/messages",)
_OPENAI: Final = ("/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/responses")


def is_anthropic(req: falcon.Request) -> bool:
    """Say whether the client expects Anthropic's objects and errors.

    Both have ``/v1/models``, and a client can ask for what is in neither; only Anthropic's clients
    name a version.
    """
    if req.path.startswith(_ANTHROPIC):
        return True
    if req.path.startswith(_OPENAI):
        return False
    return req.get_header("anthropic-version") is not None
