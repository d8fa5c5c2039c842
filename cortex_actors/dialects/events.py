"""The canonical events of one generation, which every API's encoder reads."""

from __future__ import annotations

from dataclasses import dataclass

from transports.schemas.fleet import ModelState
from transports.schemas.generate import Embed, Generate, GenerateDone, TextDelta
from transports.schemas.link import Failure


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


GenerationEvent = Started | ModelState | TextDelta | GenerateDone | Embedded | Failure
"""A generation is any number of the first three, then exactly one of the last three."""

Question = Generate | Embed
"""What an engine is asked through a lease."""
