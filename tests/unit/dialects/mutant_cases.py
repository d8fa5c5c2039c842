"""Encoders as they are written in a hurry, each with one mistake that the properties must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.http.sse import EventStream
from tests.unit.dialects import encoder_mutants as mutants
from tests.unit.dialects import stream_edits as edits
from tests.unit.dialects.encoder_properties import StreamType, Subject
from tests.unit.dialects.stream_client import Asked
from tests.unit.dialects.streamed_dialects import DIALECTS


@dataclass(frozen=True, slots=True)
class Case:
    """A mistake in one dialect."""

    dialect: str
    name: str
    mutant: Callable[[GenerationEncoder], GenerationEncoder] = mutants.Mutant
    stream_type: StreamType = EventStream

    @property
    def subject(self) -> Subject:
        """The wrong encoder."""
        dialect = DIALECTS[self.dialect]

        def make(asked: Asked) -> GenerationEncoder:
            return self.mutant(dialect.make(asked))

        return Subject(dialect, make, self.stream_type)


_EVERYWHERE: Final = (
    mutants.DropsTheLastPiece,
    mutants.GathersTheFirstPieceOnly,
    mutants.EndsTwice,
    mutants.RepeatsTheLastEvent,
    mutants.NeverEnds,
    mutants.EndsFailuresWell,
    mutants.EndsWellThenFails,
    mutants.FailsThenEndsWell,
    mutants.KeepsFailuresQuiet,
    mutants.FailsTwice,
    mutants.StripsText,
    mutants.ForgetsTheCache,
    mutants.AlwaysStops,
)
_WITH_CALLS: Final = (mutants.LosesCalls, mutants.LosesReasoning)
_OPENAI: Final = (
    mutants.MixesChoices,
    edits.FinishesTheFirstChoiceOnly,
    edits.FinishesWithEveryPiece,
    edits.UsageFirst,
    edits.UsageUnasked,
    edits.LosesLogprobs,
    edits.DoneTwice,
    edits.NeverDone,
)
_CHAT: Final = (edits.RoleInEveryDelta, edits.NamesCallsInEveryPiece, edits.NumbersCallsFromZero)
_MESSAGES: Final = (edits.OneBlockPerPiece, edits.DeltasInBlockZero, edits.CountsTheCacheTwice)
_NAMED: Final = (edits.Nameless,)
_RESPONSES: Final = (edits.NumbersNothingTwice, edits.AlwaysCompleted, edits.ReasoningLast)
_DROPPED: Final = {
    "messages": (
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ),
    "responses": (
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.completed",
    ),
}
_BY_DIALECT: Final = {
    "chat": (*_EVERYWHERE, *_WITH_CALLS, *_OPENAI, *_CHAT),
    "completions": (*_EVERYWHERE, *_OPENAI),
    "responses": (*_EVERYWHERE, *_WITH_CALLS, *_NAMED, *_RESPONSES),
    "messages": (*_EVERYWHERE, *_WITH_CALLS, *_NAMED, *_MESSAGES),
}

CASES: Final = (
    *(
        Case(dialect, mutant.__name__, mutant)
        for dialect, several in _BY_DIALECT.items()
        for mutant in several
    ),
    *(
        Case(dialect, f"{verb.__name__} {type_}", verb(type_))
        for dialect, types in _DROPPED.items()
        for type_ in types
        for verb in (edits.drops, edits.doubles)
    ),
    *(
        Case(dialect, "EndsEveryStream", stream_type=mutants.EndsEveryStream)
        for dialect in ("chat", "completions")
    ),
    *(Case(dialect, "ForgetsTheEnd", stream_type=mutants.ForgetsTheEnd) for dialect in DIALECTS),
)
