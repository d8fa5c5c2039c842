"""Generation events as OpenAI chat completion objects; pure.

The streamed chunks and the whole completion come from the same events through the same fields,
so joining the chunks gives the completion, however the output was cut into pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.openai.stream_form import OpenAIStream
from cortex_actors.dialects.openai.usage import finish_reason_of, finite, usage_of
from transports.schemas.generate import (
    GenerateDone,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)


@dataclass(slots=True)
class _Choice:
    """What has come of one choice; text that never came is None to clients that were told so."""

    begun: bool = False
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, delta: TextDelta) -> None:
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        for call in delta.tool_calls:
            if call.index == len(self.calls):
                self.calls.append(_call(call))
            else:
                self.calls[call.index]["function"]["arguments"] += call.arguments
        if _is_visible(delta):
            self.logprobs += map(logprob_of, delta.logprobs)

    def message(self) -> dict[str, Any]:
        other = self.reasoning or self.calls
        content = "".join(self.text) if self.text or not other else None
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
        return message


@final
class ChatEncoder(OpenAIStream):
    """One response's encoder; feed it every event in order, up to GenerateDone.

    ``choices`` is how many were asked for.
    """

    def __init__(
        self, request_id: str, model: str, created: int, *, include_usage: bool, choices: int = 1
    ) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._choices = [_Choice() for _ in range(choices)]

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the ``chat.completion.chunk`` objects of one event; most have one or none."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta() if _is_visible(event):
                return self._delta(event)
            case GenerateDone():
                return self._tail(event)
            case _:
                pass
        return []

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Take the next event; return the ``chat.completion`` object once it is the last."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta():
                self._choices[event.choice].add(event)
            case GenerateDone():
                return self._completion(event)
            case _:
                pass
        return None

    def _completion(self, done: GenerateDone) -> dict[str, Any]:
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": index,
                    "message": choice.message(),
                    "logprobs": _logprobs(choice.logprobs),
                    "finish_reason": finish_reason_of(done, index),
                }
                for index, choice in enumerate(self._choices)
            ],
            "usage": usage_of(done),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _delta(self, delta: TextDelta) -> list[dict[str, Any]]:
        # Apart, because clients look for the first of these that a chunk has.
        parts: list[dict[str, Any]] = []
        if delta.reasoning:
            parts.append({"reasoning_content": delta.reasoning})
        if delta.text:
            parts.append({"content": delta.text})
        if delta.tool_calls:
            parts.append({"tool_calls": [_call_delta(call) for call in delta.tool_calls]})
        logprobs = _logprobs([logprob_of(each) for each in delta.logprobs])
        chunks = [self._chunk(delta.choice, part) for part in parts]
        chunks[0]["choices"][0]["logprobs"] = logprobs
        return [*self._role(delta.choice, "" if "content" in parts[0] else None), *chunks]

    def _role(self, index: int, content: str | None) -> list[dict[str, Any]]:
        choice = self._choices[index]
        if choice.begun:
            return []
        choice.begun = True
        role = {"role": "assistant", "content": content, "refusal": None}
        return [self._chunk(index, role)]

    def _chunk(
        self, index: int, delta: dict[str, Any], finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk

    def _tail(self, done: GenerateDone) -> list[dict[str, Any]]:
        tail: list[dict[str, Any]] = []
        for index in range(len(self._choices)):
            tail += self._role(index, "")
            tail.append(self._chunk(index, {}, finish_reason_of(done, index)))
        if self._include_usage:
            usage = usage_of(done)
            tail.append({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        return tail


def _is_visible(delta: TextDelta) -> bool:
    return bool(delta.text or delta.reasoning or delta.tool_calls)


def _call(call: ToolCallDelta) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _call_delta(call: ToolCallDelta) -> dict[str, Any]:
    if call.name:
        return {"index": call.index, **_call(call)}
    return {"index": call.index, "function": {"arguments": call.arguments}}


def _logprobs(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"content": entries, "refusal": None} if entries else None


def logprob_of(token: TokenLogprob) -> dict[str, Any]:
    """Return OpenAI's object for one token."""
    return {**_alternative(token), "top_logprobs": [_alternative(each) for each in token.top]}


def _alternative(token: TokenLogprob | TopLogprob) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": finite(token.logprob),
        "bytes": list(token.token_bytes),
    }
