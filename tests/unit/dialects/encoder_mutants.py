"""Mistakes that an encoder of any dialect can have."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.dialects.framing import Framing
from cortex_actors.http.sse import EventStream
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

Chunk = dict[str, Any]
_ANY_END: Final = GenerateDone("stop", 1, 0)


class Mutant:
    """Does everything as the encoder within does."""

    def __init__(self, within: GenerationEncoder) -> None:
        self._within = within

    @property
    def framing(self) -> Framing:
        return self._within.framing

    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        return self._within.chunks(event)

    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return self._within.failed(error, request_id)

    def keep_alive(self) -> list[Chunk]:
        return self._within.keep_alive()

    def gather(self, event: GenerationEvent) -> Chunk | None:
        return self._within.gather(event)


class DropsTheLastPiece(Mutant):
    """Holds each delta back until the next comes, and the last one for good."""

    _held: GenerationEvent | None = None

    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        if not isinstance(event, TextDelta):
            return super().chunks(event)
        held, self._held = self._held, event
        return [] if held is None else super().chunks(held)


class GathersTheFirstPieceOnly(Mutant):
    """Forgets, where nothing is streamed, that pieces of output are many."""

    _seen = False

    def gather(self, event: GenerationEvent) -> Chunk | None:
        if isinstance(event, TextDelta):
            if self._seen:
                return None
            self._seen = True
        return super().gather(event)


class EndsTwice(Mutant):
    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        told = super().chunks(event)
        return [*told, *super().chunks(event)] if isinstance(event, GenerateDone) else told


class RepeatsTheLastEvent(Mutant):
    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        told = super().chunks(event)
        return [*told, told[-1]] if isinstance(event, GenerateDone) else told


class NeverEnds(Mutant):
    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        return [] if isinstance(event, GenerateDone) else super().chunks(event)


class EndsFailuresWell(Mutant):
    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return self._within.chunks(_ANY_END)


class EndsWellThenFails(Mutant):
    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return [*self._within.chunks(_ANY_END), *super().failed(error, request_id)]


class FailsThenEndsWell(Mutant):
    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return [*super().failed(error, request_id), *self._within.chunks(_ANY_END)]


class KeepsFailuresQuiet(Mutant):
    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return []


class FailsTwice(Mutant):
    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return super().failed(error, request_id) * 2


class Misreads(Mutant):
    """Sees another event than the one that came, streamed or not."""

    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        return super().chunks(self.seen(event))

    def gather(self, event: GenerationEvent) -> Chunk | None:
        return super().gather(self.seen(event))

    def seen(self, event: GenerationEvent) -> GenerationEvent:
        raise NotImplementedError


class LosesCalls(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        return _replaced(event, tool_calls=())


class LosesReasoning(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        return _replaced(event, reasoning="")


class StripsText(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        return _replaced(event, text=event.text.strip()) if isinstance(event, TextDelta) else event


class MixesChoices(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        return _replaced(event, choice=0)


class ForgetsTheCache(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        if isinstance(event, GenerateDone):
            return msgspec.structs.replace(event, cached_tokens=0)
        return event


class AlwaysStops(Misreads):
    def seen(self, event: GenerationEvent) -> GenerationEvent:
        if isinstance(event, GenerateDone):
            return msgspec.structs.replace(event, finish_reason="stop", finish_reasons=())
        return event


class EndsEveryStream(EventStream):  # type: ignore[misc]
    """Writes what closes a good stream after an error, too."""

    def _encode(self, event: GenerationEvent) -> bytes:
        end = self._encoder.framing.end if isinstance(event, Failure) else b""
        return super()._encode(event) + end


class ForgetsTheEnd(EventStream):  # type: ignore[misc]
    """Takes a failure as the end of the output, and says no word of it."""

    def _encode(self, event: GenerationEvent) -> bytes:
        if isinstance(event, Failure):
            self._ended = True
            return self._frames(self._encoder.chunks(_ANY_END)) + self._encoder.framing.end
        return super()._encode(event)


def _replaced(event: GenerationEvent, **fields: Any) -> GenerationEvent:
    return msgspec.structs.replace(event, **fields) if isinstance(event, TextDelta) else event
