"""The small parts that OpenAI's objects share."""

from __future__ import annotations

from typing import Any

from transports.schemas.generate import GenerateDone

_LEAST_LOGPROB = -9999.0


def usage_of(done: GenerateDone) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
    }


def finish_reason_of(done: GenerateDone, choice: int) -> str:
    """Return how ``choice`` ended."""
    return done.finish_reasons[choice] if done.finish_reasons else done.finish_reason


def finite(logprob: float) -> float:
    """Return a log probability as JSON can have it; OpenAI writes this for none at all."""
    return max(logprob, _LEAST_LOGPROB)
