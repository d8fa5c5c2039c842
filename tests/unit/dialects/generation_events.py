"""What an engine may say, as Hypothesis strategies: one content, cut into pieces in any way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from transports.schemas.fleet import ModelState
from transports.schemas.generate import (
    GenerateDone,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)

CUSTOM: Final = "patch"
"""The tool whose one argument, ``input``, is free text."""

_TOKEN = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)
_ARGUMENTS = st.sampled_from(("{}", '{"city": "Paris"}', '{"a": [1, 2.5, null], "ü": "\\n"}'))
_RANK: Final = {"reasoning": 0, "text": 1, "call": 2}


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one kind: reasoning, text or one call, whose text is its arguments.

    Log probabilities are one for each of ``parts``, or none.
    """

    kind: str
    parts: tuple[str, ...]
    name: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)


@dataclass(frozen=True, slots=True)
class Output:
    """What one request has come to: the segments of each choice, in order."""

    choices: tuple[tuple[Segment, ...], ...]
    done: GenerateDone

    def text(self, kind: str, choice: int = 0) -> str:
        """Return everything of a kind."""
        return "".join(each.text for each in self.choices[choice] if each.kind == kind)

    def calls(self, choice: int = 0) -> list[tuple[str, str]]:
        """Return the name and the arguments of each call."""
        return [(each.name, each.text) for each in self.choices[choice] if each.kind == "call"]

    def finish_reason(self, choice: int = 0) -> str:
        """Return how a choice ended."""
        reasons = self.done.finish_reasons
        return reasons[choice] if reasons else self.done.finish_reason


@st.composite
def outputs(
    draw: st.DrawFn, *, chat: bool = True, choices: int = 1, truncated: bool = True
) -> Output:
    """Draw a whole answer; without ``chat`` it is text alone, one not ``truncated`` has an end."""
    logprobs = draw(st.booleans())
    drawn = [
        _choice(draw, chat=chat, logprobs=logprobs, truncated=truncated) for _ in range(choices)
    ]
    reasons = tuple(reason for _, reason in drawn)
    prompt = draw(st.integers(1, 99))
    done = GenerateDone(
        reasons[0],
        prompt,
        draw(st.integers(0, 99)),
        cached_tokens=draw(st.integers(0, prompt)),
        reasoning_tokens=draw(st.integers(0, 9)),
        finish_reasons=reasons if choices > 1 else (),
        stop_sequence=draw(st.sampled_from(("", "END"))) if reasons[0] == "stop" else "",
    )
    return Output(tuple(segments for segments, _ in drawn), done)


@st.composite
def cuttings(draw: st.DrawFn, output: Output) -> list[GenerationEvent]:
    """Draw one way in which the engine may tell ``output``, up to its end."""
    events: list[GenerationEvent] = []
    if draw(st.booleans()):
        events.append(ModelState("m", "starting", progress=0.5))
    events.append(Started("m", "n1"))
    prompt = {
        "prompt_tokens": output.done.prompt_tokens,
        "cached_tokens": output.done.cached_tokens,
    }
    for choice, delta in _interleaved(draw, [_deltas(draw, each) for each in output.choices]):
        events.append(TextDelta(**{"text": "", "index": 0, "choice": choice, **delta, **prompt}))
        prompt = {}
    return [*events, output.done]


@st.composite
def batches(
    draw: st.DrawFn, events: Sequence[GenerationEvent]
) -> list[tuple[GenerationEvent, ...]]:
    """Draw how the events lie ready together; an empty batch is a second of silence."""
    found: list[tuple[GenerationEvent, ...]] = [()] if draw(st.booleans()) else []
    found.append(())
    for event in events:
        how = draw(st.sampled_from(("with", "next", "silence")))
        if how == "silence":
            found += [(), ()]
        elif how == "next":
            found.append(())
        found[-1] = (*found[-1], event)
    return found


def _choice(
    draw: Any, *, chat: bool, logprobs: bool, truncated: bool
) -> tuple[tuple[Segment, ...], str]:
    kinds = st.sampled_from(("reasoning", "text", "call")) if chat else st.just("text")
    segments: list[Segment] = []
    for kind in draw(st.lists(kinds, max_size=5)):
        if segments and kind == segments[-1].kind != "call":
            continue
        segments.append(_segment(draw, kind, logprobs=logprobs))
    if any(each.kind == "call" for each in segments) and not (truncated and draw(st.booleans())):
        return tuple(segments), "tool_calls"
    reason = draw(st.sampled_from(("stop", "length") if truncated else ("stop",)))
    if segments and segments[-1].kind == "call" and segments[-1].name != CUSTOM:
        kept = draw(st.integers(0, len(segments[-1].parts)))
        segments[-1] = replace(segments[-1], parts=segments[-1].parts[:kept])
        reason = "length"
    return tuple(segments), reason


def _segment(draw: Any, kind: str, *, logprobs: bool) -> Segment:
    if kind == "call":
        name = draw(st.sampled_from(("f", "mcp__f", "nobody's", CUSTOM)))
        custom = name == CUSTOM
        arguments = json.dumps({"input": draw(_TOKEN)}) if custom else draw(_ARGUMENTS)
        return Segment(kind, tuple(arguments), name)
    tokens = tuple(draw(st.lists(_TOKEN, min_size=1, max_size=5)))
    if not logprobs or kind != "text":
        # Where text is cut is not where tokens end: a stop string, for one, is held back.
        return Segment(kind, tuple("".join(tokens)))
    return Segment(kind, tokens, logprobs=tuple(_logprob(draw, token) for token in tokens))


def _logprob(draw: Any, token: str) -> TokenLogprob:
    value = draw(st.sampled_from((-0.5, -9.0, float("-inf"))))
    top = (TopLogprob("other", -1.0, b"other"),) if draw(st.booleans()) else ()
    return TokenLogprob(token, value, token.encode(), top)


def _deltas(draw: Any, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Return the deltas of one choice; one may end a segment and begin the next."""
    deltas: list[dict[str, Any]] = []
    last, calls = "", 0
    for segment in segments:
        if segment.kind == "call":
            told, calls = _call_deltas(draw, segment, calls), calls + 1
        else:
            told = _text_deltas(draw, segment)
        if last and _may_join(deltas[-1], last, segment.kind) and draw(st.booleans()):
            calls_so_far = deltas[-1].get("tool_calls", ())
            deltas[-1] |= told.pop(0)
            if calls_so_far:
                begun = deltas[-1]["tool_calls"] if segment.kind == "call" else ()
                deltas[-1]["tool_calls"] = (*calls_so_far, *begun)
        elif draw(st.integers(0, 7)) == 0:
            # Tokens that nothing can be seen of yet.
            deltas.append({"tokens": (5,)})
        deltas += told
        last = segment.kind
    return deltas


def _may_join(delta: dict[str, Any], last: str, kind: str) -> bool:
    """Whether the beginning of a segment may come with the end of the one before.

    What ends a call that an earlier delta began comes before all else in its own.
    """
    ends_a_call = last == "call" and not any(call.name for call in delta["tool_calls"])
    return _RANK[last] < _RANK[kind] or (ends_a_call and kind != "call")


def _text_deltas(draw: Any, segment: Segment) -> list[dict[str, Any]]:
    return [
        {segment.kind: "".join(segment.parts[a:b]), "logprobs": segment.logprobs[a:b]}
        if segment.logprobs
        else {segment.kind: "".join(segment.parts[a:b])}
        for a, b in _bounds(draw, len(segment.parts))
    ]


def _call_deltas(draw: Any, segment: Segment, index: int) -> list[dict[str, Any]]:
    pieces = ["".join(segment.parts[a:b]) for a, b in _bounds(draw, len(segment.parts))]
    first = pieces.pop(0) if pieces and draw(st.booleans()) else ""
    told = [ToolCallDelta(index, f"call_{index}", segment.name, first)]
    told += [ToolCallDelta(index, arguments=piece) for piece in pieces]
    together = draw(st.integers(1, len(told)))
    return [
        {"tool_calls": tuple(told[:together])},
        *({"tool_calls": (each,)} for each in told[together:]),
    ]


def _interleaved(
    draw: Any, choices: list[list[dict[str, Any]]]
) -> list[tuple[int, dict[str, Any]]]:
    left = [list(each) for each in choices]
    found = []
    while waiting := [index for index, each in enumerate(left) if each]:
        index = draw(st.sampled_from(waiting))
        found.append((index, left[index].pop(0)))
    return found


def _bounds(draw: Any, length: int) -> list[tuple[int, int]]:
    cuts = draw(st.sets(st.integers(1, length - 1), max_size=3)) if length > 1 else set()
    return list(pairwise([0, *sorted(cuts), length])) if length else []
