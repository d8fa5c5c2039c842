"""The response object: what the request asked for, and what has come of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Self, final

from transports.schemas.generate import GenerateDone

_AS_SENT = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_p",
    "top_logprobs",
    "user",
)


def id_of(prefix: str, request_id: str, index: int = 0) -> str:
    """Return an id that is fit for a URL, the same for the same request and ``index``."""
    digest = hashlib.blake2b(f"{request_id}\0{prefix}\0{index}".encode(), digest_size=24)
    return f"{prefix}_{digest.hexdigest()}"


@final
@dataclass(frozen=True, slots=True)
class Echo:
    """The fields of every response to one request."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, body: dict[str, Any], tools: tuple[dict[str, Any], ...], created: int) -> Self:
        """Take them from a checked request."""
        text = body.get("text") or {}
        reasoning = body.get("reasoning") or {}
        choice = body.get("tool_choice")
        fields = {
            **{name: body.get(name) for name in _AS_SENT},
            "object": "response",
            "created_at": created,
            "background": False,
            "metadata": body.get("metadata") or {},
            "model": body["model"],
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "reasoning": {"effort": reasoning.get("effort"), "summary": None},
            "service_tier": "default",
            "store": body.get("store") is not False,
            "text": {
                "format": text.get("format") or {"type": "text"},
                "verbosity": text.get("verbosity"),
            },
            "tool_choice": "auto" if choice is None else choice,
            "tools": list(tools),
            # An input that is too long is refused, whichever was asked for.
            "truncation": "disabled",
        }
        return cls(fields)

    def response(self, id_: str, model: str, status: str, **more: Any) -> dict[str, Any]:
        """Return one state of the response; ``more`` replaces what is empty."""
        return {
            **self.fields,
            "id": id_,
            "model": model,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            **more,
        }


def usage_of(done: GenerateDone) -> dict[str, Any]:
    """Return the API's usage object."""
    return {
        "input_tokens": done.prompt_tokens,
        "input_tokens_details": {"cached_tokens": done.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": done.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
