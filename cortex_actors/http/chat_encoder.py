"""Generation events as OpenAI chat completion objects; pure.

The streamed chunks and the whole completion come from the same events through the same fields,
so joining the chunks gives the completion, however the text was cut into pieces.
"""

from __future__ import annotations

from typing import Any

from cortex_actors.http.backend import GenerationEvent, Started
from transports.schemas.generate import GenerateDone, TextDelta


class ChatEncoder:
    """One response's encoder; feed it every event in order, up to GenerateDone."""

    def __init__(self, request_id: str, model: str, created: int, *, include_usage: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._role_sent = False

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the ``chat.completion.chunk`` objects of one event; most have one or none."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta() if event.text:
                return [*self._role(), self._chunk({"content": event.text})]
            case GenerateDone():
                return [*self._role(), *self._tail(event)]
            case _:
                pass
        return []

    def completion(self, text: str, done: GenerateDone) -> dict[str, Any]:
        """Return the ``chat.completion`` object of a finished generation."""
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": done.finish_reason,
                }
            ],
            "usage": _usage(done),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _role(self) -> list[dict[str, Any]]:
        if self._role_sent:
            return []
        self._role_sent = True
        return [self._chunk({"role": "assistant", "content": "", "refusal": None})]

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk

    def _tail(self, done: GenerateDone) -> list[dict[str, Any]]:
        tail = [self._chunk({}, done.finish_reason)]
        if self._include_usage:
            usage = _usage(done)
            tail.append({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        return tail


def _usage(done: GenerateDone) -> dict[str, int]:
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
