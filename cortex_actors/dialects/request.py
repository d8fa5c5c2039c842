"""What every API's request for generated text offers once it is parsed."""

from __future__ import annotations

from typing import Protocol

from cortex_actors.dialects.encoder import GenerationEncoder
from transports.schemas.generate import Generate


class GenerationRequest(Protocol):
    """One checked request."""

    @property
    def streamed(self) -> bool:
        """Whether the answer is to be a stream."""
        ...

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Names of the fields that were sent and have no effect."""
        ...

    def param_of(self, field: str) -> str:
        """Return the name that clients know a field of the engine's question by."""
        ...

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        ...

    def encoder(self, request_id: str, created: int) -> GenerationEncoder:
        """Return the encoder of its response; ``created`` is the time of day in seconds."""
        ...
