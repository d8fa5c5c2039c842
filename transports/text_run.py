"""Neighbouring pieces of a stream's text as one. Pure.

What has waited together goes out together: a reader that keeps up gets every piece by itself, one
that lags costs less for each token (as vLLM's output collector does).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import TypeVar

import msgspec

from transports.schemas.generate import TextDelta, ToolCallDelta

Event = TypeVar("Event")


def are_one_piece(delta: TextDelta, later: TextDelta) -> bool:
    """Say whether the two can be joined; of mixed kinds the order would be lost.

    ``delta`` may be the first of several that are one. What tells of tokens alone, of which nothing
    can be seen, is one with whatever went before.
    """
    if delta.choice != later.choice:
        return False
    if delta.text and later.text:
        # PERF: what nearly all of them are.
        return not (delta.reasoning or delta.tool_calls or later.reasoning or later.tool_calls)
    kinds, more = _kinds(delta), _kinds(later)
    return (kinds == more and sum(kinds) <= 1) or not (any(more) or later.logprobs)


def join(run: Sequence[TextDelta]) -> TextDelta:
    """Return pieces that are one as one; ``run`` holds at least one."""
    first = run[0]
    if len(run) == 1:
        return first
    return msgspec.structs.replace(
        first,
        text="".join([each.text for each in run]),
        tokens=tuple(chain.from_iterable([each.tokens for each in run])),
        reasoning="".join([each.reasoning for each in run]),
        tool_calls=_joined_calls(run),
        logprobs=tuple(chain.from_iterable([each.logprobs for each in run])),
        reasoning_tokens=sum([each.reasoning_tokens for each in run]),
    )


def join_runs(events: Sequence[Event]) -> list[Event | TextDelta]:
    """Return the events with each run of pieces that are one joined, in order.

    Where an output token is repeated or left out a run ends, so that it can still be seen.
    """
    if len(events) == 1:
        return list(events)
    joined: list[Event | TextDelta] = []
    run: list[TextDelta] = []
    due = 0
    for event in events:
        text = event if isinstance(event, TextDelta) else None
        if run and not (text and text.index == due and are_one_piece(run[0], text)):
            joined.append(join(run))
            run = []
        if text:
            run.append(text)
            due = text.index + len(text.tokens)
        else:
            joined.append(event)
    return [*joined, join(run)] if run else joined


def _joined_calls(run: Sequence[TextDelta]) -> tuple[ToolCallDelta, ...]:
    """Return one piece for each call, by its index: calls come one after the other."""
    pieces = chain.from_iterable([each.tool_calls for each in run])
    return tuple([_joined_call(list(same)) for _, same in groupby(pieces, lambda call: call.index)])


def _joined_call(pieces: Sequence[ToolCallDelta]) -> ToolCallDelta:
    if len(pieces) == 1:
        return pieces[0]
    arguments = "".join([each.arguments for each in pieces])
    return msgspec.structs.replace(pieces[0], arguments=arguments)


def _kinds(delta: TextDelta) -> tuple[bool, bool, bool]:
    return bool(delta.text), bool(delta.reasoning), bool(delta.tool_calls)
