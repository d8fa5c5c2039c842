"""What is told of a prompt that the model's context cannot hold.

Clients look for OpenAI's "maximum context length is N tokens", and shorten what they have said.
"""

from __future__ import annotations

from transports.failures import FailureCode
from transports.schemas.link import Failure


def too_many_tokens(limit: int, tokens: int) -> Failure:
    """Return the refusal of a prompt of ``tokens``, which leaves no room for an answer."""
    return Failure(
        FailureCode.CONTEXT_LENGTH_EXCEEDED,
        f"This model's maximum context length is {limit} tokens, but the"
        f" prompt has {tokens} tokens, which leaves no room for an answer."
        " Please shorten it.",
        param="messages",
        detail={"max": str(limit), "prompt_tokens": str(tokens)},
    )


def too_many_characters(limit: int, characters: int) -> Failure:
    """Return the refusal of a prompt with so many characters that its tokens are not counted.

    ``characters`` is how many it has at least.
    """
    return Failure(
        FailureCode.CONTEXT_LENGTH_EXCEEDED,
        f"This model's maximum context length is {limit} tokens, but the"
        f" prompt has at least {characters} characters, which are more tokens."
        " Please shorten it.",
        param="messages",
        detail={"max": str(limit)},
    )
