"""Joining neighbours: nothing is lost or moved, and no more is joined than may be."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from transports.schemas.generate import GenerateDone, TextDelta, TokenLogprob, ToolCallDelta
from transports.text_run import are_one_piece, join_runs

Fact = tuple[int, str, object]


def delta(choice: int, kind: int, text: str, token: int) -> TextDelta:
    calls = (ToolCallDelta(0, arguments=text),) if kind == 2 else ()
    return TextDelta(
        text if kind == 0 else "",
        token,
        (token,),
        choice=choice,
        reasoning=text if kind == 1 else "",
        tool_calls=calls,
        logprobs=(TokenLogprob(text, -1.0),),
        reasoning_tokens=int(kind == 1),
    )


DELTAS = st.builds(
    delta, st.integers(0, 1), st.integers(0, 2), st.text(max_size=2), st.integers(0, 1)
)
OTHERS: st.SearchStrategy[GenerationEvent] = st.sampled_from(
    [Started("m", "n"), GenerateDone("stop", 1, 1)]
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[GenerationEvent]:
    """Events of two choices whose tokens mostly follow one another."""
    due = [0, 0]
    events: list[GenerationEvent] = []
    kinds: st.SearchStrategy[GenerationEvent] = st.one_of(DELTAS, DELTAS, OTHERS)
    drawn = draw(st.lists(kinds, max_size=30))
    for event in drawn:
        if isinstance(event, TextDelta):
            # Now and then one is repeated.
            index = due[event.choice] - draw(st.sampled_from([0, 0, 0, 1]))
            due[event.choice] = index + 1
            event = msgspec.structs.replace(event, index=index)  # noqa: PLW2901
        events.append(event)
    return events


EVENTS = event_lists()


def facts(events: list[GenerationEvent]) -> list[Fact]:
    """Everything that a client is told, letter by letter, token by token."""
    found: list[Fact] = []
    for event in events:
        if isinstance(event, TextDelta):
            found += _facts_of(event)
        else:
            found.append((-1, "event", event))
    return found


def _facts_of(event: TextDelta) -> list[Fact]:
    calls = "".join(call.arguments for call in event.tool_calls)
    shown = (("text", event.text), ("reasoning", event.reasoning), ("calls", calls))
    return [(event.choice, kind, letter) for kind, text in shown for letter in text]


@given(EVENTS)
def test_joining_keeps_every_letter_and_event_in_its_place(events: list[GenerationEvent]) -> None:
    assert facts(join_runs(events)) == facts(events)


@given(EVENTS)
def test_joining_keeps_tokens_and_logprobs_of_each_choice(events: list[GenerationEvent]) -> None:
    for choice in (0, 1):
        before = [each for each in events if isinstance(each, TextDelta) and each.choice == choice]
        after = [
            each
            for each in join_runs(events)
            if isinstance(each, TextDelta) and each.choice == choice
        ]
        assert [t for each in after for t in each.tokens] == [t for b in before for t in b.tokens]
        assert [p for each in after for p in each.logprobs] == [
            p for each in before for p in each.logprobs
        ]
        assert sum(e.reasoning_tokens for e in after) == sum(b.reasoning_tokens for b in before)


@given(EVENTS)
def test_no_neighbours_are_left_that_could_be_joined(events: list[GenerationEvent]) -> None:
    for first, second in pairwise(join_runs(events)):
        if not isinstance(first, TextDelta) or not isinstance(second, TextDelta):
            continue
        follows = second.index == first.index + len(first.tokens)
        assert not (follows and are_one_piece(first, second))


def test_a_repeated_token_stays_visible() -> None:
    twice = [delta(0, 0, "a", 7), delta(0, 0, "b", 7)]
    assert join_runs(twice) == twice


def test_a_piece_by_itself_stays_as_it_is() -> None:
    alone = delta(0, 0, "a", 7)
    assert join_runs([alone]) == [alone]
