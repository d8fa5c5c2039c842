"""Mistakes in what a dialect writes: events left out, told twice, misnumbered or ill-timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent
from cortex_actors.dialects.framing import Framing
from tests.unit.dialects.encoder_mutants import Mutant

Chunk = dict[str, Any]


class Edits(Mutant):
    """Writes another stream than its encoder; ``sequence_number`` is kept whole."""

    _sequence = 0

    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        return self._numbered(self.edited(super().chunks(event)))

    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return self._numbered(super().failed(error, request_id))

    def keep_alive(self) -> list[Chunk]:
        return self._numbered(super().keep_alive())

    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        raise NotImplementedError

    def _numbered(self, chunks: list[Chunk]) -> list[Chunk]:
        if not chunks or "sequence_number" not in chunks[0]:
            return chunks
        first, self._sequence = self._sequence, self._sequence + len(chunks)
        return [{**chunk, "sequence_number": first + n} for n, chunk in enumerate(chunks)]


def drops(*types: str) -> type[Edits]:
    """Return an encoder that leaves these events out."""

    class Drops(Edits):
        def edited(self, chunks: list[Chunk]) -> list[Chunk]:
            return [each for each in chunks if each["type"] not in types]

    return Drops


def doubles(*types: str) -> type[Edits]:
    """Return an encoder that tells these events twice."""

    class Doubles(Edits):
        def edited(self, chunks: list[Chunk]) -> list[Chunk]:
            return [each for one in chunks for each in [one] * (1 + (one["type"] in types))]

    return Doubles


class OneBlockPerPiece(Edits):
    """Ends and begins the same block around every piece of text."""

    _blocks = 0

    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        found: list[Chunk] = []
        for chunk in chunks:
            if chunk["type"] == "content_block_delta" and "text" in chunk["delta"]:
                found += self._between(found)
            if "index" in chunk:
                chunk = {**chunk, "index": chunk["index"] + self._blocks}  # noqa: PLW2901
            found.append(chunk)
        return found

    def _between(self, before: list[Chunk]) -> list[Chunk]:
        if before and before[-1]["type"] == "content_block_start":
            return []
        self._blocks += 1
        return [
            {"type": "content_block_stop", "index": self._blocks - 1},
            {
                "type": "content_block_start",
                "index": self._blocks,
                "content_block": {"type": "text", "text": ""},
            },
        ]


class DeltasInBlockZero(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        return [{**each, "index": 0} if "index" in each else each for each in chunks]


class CountsTheCacheTwice(Mutant):
    def gather(self, event: GenerationEvent) -> Chunk | None:
        whole = super().gather(event)
        if whole is not None:
            usage = whole["usage"]
            total = usage["input_tokens"] + usage["cache_read_input_tokens"]
            whole = {**whole, "usage": {**usage, "input_tokens": total}}
        return whole


class NumbersNothingTwice(Mutant):
    """Numbers the first events and then no more."""

    def chunks(self, event: GenerationEvent) -> list[Chunk]:
        told = super().chunks(event)
        return [{**each, "sequence_number": min(each["sequence_number"], 3)} for each in told]


class AlwaysCompleted(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        return [
            {**each, "type": "response.completed"} if each["type"].endswith("incomplete") else each
            for each in chunks
        ]


class ReasoningLast(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        if not chunks or not isinstance(chunks[-1].get("response"), dict):
            return chunks
        response = chunks[-1]["response"]
        output = sorted(response["output"], key=lambda item: item["type"] == "reasoning")
        return [*chunks[:-1], {**chunks[-1], "response": {**response, "output": output}}]


class RoleInEveryDelta(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            choice["delta"] = {"role": "assistant", **choice["delta"]}
        return chunks


class NamesCallsInEveryPiece(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            for call in choice["delta"].get("tool_calls", ()):
                call["id"], call["function"]["name"] = "call_0", "get"
        return chunks


class NumbersCallsFromZero(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            for call in choice["delta"].get("tool_calls", ()):
                call["index"] = 0
        return chunks


class FinishesTheFirstChoiceOnly(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            if choice["index"] > 0:
                choice["finish_reason"] = None
        return chunks


class FinishesWithEveryPiece(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        return chunks


class UsageFirst(Edits):
    """Tells the usage before the choices have finished."""

    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        return sorted(chunks, key=lambda chunk: bool(chunk["choices"]))


class UsageUnasked(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        if chunks and chunks[-1]["choices"] and chunks[-1]["choices"][0]["finish_reason"]:
            return [*chunks, {**chunks[-1], "choices": [], "usage": {"total_tokens": 0}}]
        return chunks


class LosesLogprobs(Edits):
    def edited(self, chunks: list[Chunk]) -> list[Chunk]:
        for choice in _choices(chunks):
            choice["logprobs"] = None
        return chunks


class DoneTwice(Mutant):
    @property
    def framing(self) -> Framing:
        return replace(super().framing, end=super().framing.end * 2)


class NeverDone(Mutant):
    @property
    def framing(self) -> Framing:
        return replace(super().framing, end=b"")


class Nameless(Mutant):
    @property
    def framing(self) -> Framing:
        return replace(super().framing, named=not super().framing.named)


def _choices(chunks: list[Chunk]) -> list[Chunk]:
    return [choice for chunk in chunks for choice in chunk["choices"]]
