"""A reader that lags: nothing is lost, each choice keeps its order, and little is held."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.http.event_buffer import LIMIT, EventBuffer
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta, TokenLogprob, ToolCallDelta
from transports.text_run import are_one_piece

TOKENS = 5000
KINDS = ("text", "reasoning", "calls", "nothing")


def delta(choice: int, kind: str, text: str, token: int) -> TextDelta:
    calls = (ToolCallDelta(0, arguments=text),) if kind == "calls" else ()
    logprobs = (TokenLogprob(text, -1.0),) if kind == "text" else ()
    return TextDelta(
        text if kind == "text" else "",
        token,
        (token,),
        choice=choice,
        reasoning=text if kind == "reasoning" else "",
        tool_calls=calls,
        logprobs=logprobs,
    )


PIECES = st.tuples(st.integers(0, 2), st.sampled_from(KINDS), st.text(min_size=1, max_size=2))
OTHERS: st.SearchStrategy[GenerationEvent] = st.sampled_from(
    [Started("m", "n"), ModelState("m", "starting", progress=0.5), GenerateDone("stop", 1, 1)]
)


@st.composite
def lags(draw: st.DrawFn) -> list[GenerationEvent]:
    """More than a reader may lag, of a few kinds of neighbours."""
    few = draw(st.lists(PIECES, min_size=1, max_size=12))
    events: list[GenerationEvent] = [
        delta(choice, kind, text, number)
        for number, (choice, kind, text) in enumerate(few * draw(st.integers(1, 2 * LIMIT)))
    ]
    for event in draw(st.lists(OTHERS, max_size=3)):
        events.insert(draw(st.integers(0, len(events))), event)
    return events


def held(events: list[GenerationEvent]) -> EventBuffer:
    buffer = EventBuffer()
    for event in events:
        buffer.put(event)
    return buffer


def told(events: tuple[GenerationEvent, ...] | list[GenerationEvent], choice: int) -> list[object]:
    """What the choice's client sees, kind by kind; its tokens and log probabilities."""
    of_it = [each for each in events if isinstance(each, TextDelta) and each.choice == choice]
    letters = [
        (kind, letter)
        for each in of_it
        for kind, text in (
            ("reasoning", each.reasoning),
            ("text", each.text),
            ("calls", "".join(call.arguments for call in each.tool_calls)),
        )
        for letter in text
    ]
    tokens = [token for each in of_it for token in each.tokens]
    return [letters, tokens, [each for delta in of_it for each in delta.logprobs]]


@settings(deadline=None)
@given(lags())
def test_every_choice_keeps_all_of_its_output_in_order(events: list[GenerationEvent]) -> None:
    taken = held(events).take()
    for choice in range(3):
        assert told(taken, choice) == told(events, choice)


@settings(deadline=None)
@given(lags())
def test_what_is_no_text_keeps_its_order_and_progress_is_told_last(
    events: list[GenerationEvent],
) -> None:
    def others(those: list[GenerationEvent]) -> list[GenerationEvent]:
        rest = [each for each in those if not isinstance(each, TextDelta)]
        return [each for each, _ in groupby(rest)]

    assert others(list(held(events).take())) == others(events)


@settings(deadline=None)
@given(lags())
def test_no_more_is_held_than_choices_change_their_kind(events: list[GenerationEvent]) -> None:
    buffer = held(events)
    taken = buffer.take()
    assert len(buffer) == 0
    late = [each for each in taken[LIMIT:] if isinstance(each, TextDelta)]
    for choice in range(3):
        of_it = [each for each in late if each.choice == choice]
        assert not any(map(are_one_piece, of_it, of_it[1:]))


@pytest.mark.parametrize("choices", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_choices_in_turn_cost_no_more_than_their_text(choices: int, kind: str) -> None:
    buffer = EventBuffer()
    most = 0
    for number in range(TOKENS):
        buffer.put(delta(number % choices, kind, "a", number))
        most = max(most, len(buffer))
    assert most <= LIMIT * (1 + choices)
    taken = buffer.take()
    assert len(taken) <= LIMIT + choices
    calls = [call for each in taken if isinstance(each, TextDelta) for call in each.tool_calls]
    assert len(calls) <= LIMIT + choices


def test_a_reader_that_keeps_up_gets_every_piece_by_itself() -> None:
    events: list[GenerationEvent] = [delta(0, "text", "a", number) for number in range(LIMIT)]
    assert held(events).take() == tuple(events)


def test_after_a_lag_pieces_are_by_themselves_again() -> None:
    events: list[GenerationEvent] = [delta(0, "text", "a", number) for number in range(TOKENS)]
    buffer = held(events)
    buffer.take()
    for event in events[:3]:
        buffer.put(event)
    assert buffer.take() == tuple(events[:3])


def test_what_is_cleared_is_gone() -> None:
    buffer = held([delta(0, "text", "a", number) for number in range(2 * LIMIT)])
    buffer.clear()
    assert (len(buffer), buffer.take()) == (0, ())
