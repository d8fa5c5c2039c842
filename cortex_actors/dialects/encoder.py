"""What turns generation events into one API's objects."""

from __future__ import annotations

from typing import Any, Protocol

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.dialects.framing import Framing


class GenerationEncoder(Protocol):
    """One response's encoder; it is fed every event in order, either way but not both.

    A failure is fed to ``failed`` of a stream; a response that is not streamed has the API's
    envelope instead.
    """

    @property
    def framing(self) -> Framing:
        """How the objects of a stream are written."""
        ...

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the objects of one event of a stream; most have one or none."""
        ...

    def failed(self, error: ApiError, request_id: str) -> list[dict[str, Any]]:
        """Return the objects that end a stream whose generation failed."""
        ...

    def keep_alive(self) -> list[dict[str, Any]]:
        """Return what a silent stream carries; nothing if the API has only the comment."""
        ...

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Take the next event; return the whole object once it is the last."""
        ...
