"""How OpenAI's streams are written, whatever they carry."""

from __future__ import annotations

from typing import Any

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.framing import OPENAI, Framing


class OpenAIStream:
    """Base of the encoders of OpenAI's older APIs."""

    @property
    def framing(self) -> Framing:
        """Unnamed events, closed by ``[DONE]``."""
        return OPENAI

    def failed(self, error: ApiError, request_id: str) -> list[dict[str, Any]]:
        """Return the error object, after which no ``[DONE]`` comes."""
        return [error.envelope(request_id)]

    def keep_alive(self) -> list[dict[str, Any]]:
        """Return nothing: these APIs have no event for it."""
        return []
