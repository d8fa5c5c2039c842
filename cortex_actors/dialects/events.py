"""The canonical events of one generation, which every API's encoder reads."""

from __future__ import annotations

from dataclasses import dataclass

from transports.schemas.fleet import ModelState
from transports.schemas.generate import (
    CountTokens,
    Embed,
    Generate,
    GenerateDone,
    TextDelta,
    ToolCallDelta,
)
from transports.schemas.link import Failure, GenerationFigures


@dataclass(frozen=True, slots=True)
class Started:
    """An engine has been asked; ``model`` is the concrete id behind an alias."""

    model: str
    neuron: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one request: a row of ``dimensions`` little-endian float32 for each input."""

    dimensions: int
    prompt_tokens: int
    rows: bytes
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens a prompt has; nothing was generated."""

    prompt_tokens: int
    completion_tokens: int = 0


Answer = GenerateDone | Embedded | Counted
"""How a generation ends well."""

GenerationEvent = Started | ModelState | TextDelta | Answer | Failure
"""A generation is any number of the first three, then exactly one Answer or Failure."""

Question = Generate | Embed | CountTokens
"""What an engine is asked through a lease."""


def principal_of(question: Question) -> str:
    """Return in whose name it is asked; empty if nobody knows."""
    return question.question.principal if isinstance(question, CountTokens) else question.principal


def figures_of(done: GenerateDone) -> GenerationFigures:
    """Return what a generation that ended well came to."""
    return GenerationFigures(
        prompt_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        completion_tokens=done.completion_tokens,
        reasoning_tokens=done.reasoning_tokens,
        queue_s=done.queue_s,
        prefill_s=done.prefill_s,
        decode_s=done.decode_s,
    )


def calls_of(delta: TextDelta) -> tuple[list[ToolCallDelta], list[ToolCallDelta]]:
    """Return the pieces of the call that is open, and those of the calls that begin.

    The former come before the delta's reasoning and text, since neither comes within a call.
    """
    begun = [bool(call.name) for call in delta.tool_calls]
    first = begun.index(True) if True in begun else len(begun)
    return list(delta.tool_calls[:first]), list(delta.tool_calls[first:])
