"""What an engine may say, as Hypothesis strategies: one content, cut into pieces in any way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from cortex_actors.dialects.events import GenerationEvent, Started
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta, ToolCallDelta

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ARGUMENTS = st.sampled_from(("{}", '{"city": "Paris"}', '{"a": [1, 2.5, null], "ü": "\\n"}'))


@dataclass(frozen=True, slots=True)
class Output:
    """What one choice has come to."""

    reasoning: str
    text: str
    calls: tuple[tuple[str, str], ...]
    done: GenerateDone


@st.composite
def outputs(draw: st.DrawFn, *, chat: bool = True) -> Output:
    """Draw a whole answer; without ``chat`` it is text alone."""
    calls = draw(st.lists(st.tuples(st.sampled_from(("get", "put")), ARGUMENTS), max_size=3))
    reasoning = draw(TEXT) if chat else ""
    finish = "tool_calls" if chat and calls else draw(st.sampled_from(("stop", "length")))
    prompt, cached = draw(st.integers(1, 99)), draw(st.integers(0, 1))
    done = GenerateDone(
        finish,
        prompt,
        draw(st.integers(0, 99)),
        cached_tokens=cached,
        stop_sequence=draw(st.sampled_from(("", "END"))) if finish == "stop" else "",
    )
    return Output(reasoning, draw(TEXT), tuple(calls) if chat else (), done)


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
    for delta in _deltas(draw, output):
        events.append(TextDelta(**{"text": "", "index": 0, **delta, **prompt}))
        prompt = {}
    return [*events, output.done]


def _deltas(draw: Any, output: Output) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [
        {"reasoning": piece} for piece in _pieces(draw, output.reasoning)
    ]
    texts: list[dict[str, Any]] = [{"text": piece} for piece in _pieces(draw, output.text)]
    if deltas and texts and draw(st.booleans()):
        deltas[-1] |= texts.pop(0)
    deltas += texts
    for index, (name, arguments) in enumerate(output.calls):
        first, *rest = _pieces(draw, arguments)
        begun = draw(st.booleans())
        head = ToolCallDelta(index, f"call_{index}", name, "" if begun else first)
        tail = [first, *rest] if begun else rest
        deltas.append({"tool_calls": (head,)})
        deltas += [{"tool_calls": (ToolCallDelta(index, arguments=piece),)} for piece in tail]
    return deltas


def _pieces(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(1, max(len(text) - 1, 1)), max_size=3)))
    bounds = [0, *(cut for cut in cuts if cut < len(text)), len(text)]
    return [text[a:b] for a, b in pairwise(bounds) if a < b]
