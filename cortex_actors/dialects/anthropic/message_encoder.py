"""Generation events as Anthropic's stream events and message; pure.

A whole message is the sum of its own stream, so that the two cannot differ.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, final

import msgspec

from cortex_actors.dialects.anthropic.errors import envelope
from cortex_actors.dialects.anthropic.usage import usage
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started, calls_of
from cortex_actors.dialects.framing import NAMED, Framing
from transports.schemas.generate import GenerateDone, TextDelta, ToolCallDelta

_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

Event = dict[str, Any]


@final
class MessageEncoder:
    """One response's encoder; feed it every event in order, up to GenerateDone."""

    def __init__(self, request_id: str, model: str) -> None:
        self._id = f"msg_{request_id}"
        self._model = model
        self._begun = False
        self._open = ""
        self._blocks = 0
        self._thinking = hashlib.blake2b(digest_size=24)
        self._message: dict[str, Any] = {}
        self._inputs: dict[int, str] = {}

    @property
    def framing(self) -> Framing:
        """Events that carry their names."""
        return NAMED

    def chunks(self, event: GenerationEvent) -> list[Event]:
        """Return the stream events of one generation event."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta():
                return self._delta(event)
            case GenerateDone():
                return self._tail(event)
            case _:
                pass
        return []

    def failed(self, error: ApiError, request_id: str) -> list[Event]:
        """Return the ``error`` event; no ``message_stop`` comes after it."""
        return [envelope(error, request_id)]

    def keep_alive(self) -> list[Event]:
        """Return the ``ping`` event."""
        return [{"type": "ping"}]

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Take the next event; return the message once it is the last."""
        for chunk in self.chunks(event):
            self._add(chunk)
        return self._message if isinstance(event, GenerateDone) else None

    # -- the stream -----------------------------------------------------------------------------

    def _delta(self, delta: TextDelta) -> list[Event]:
        events = self._start(delta.prompt_tokens, delta.cached_tokens)
        going_on, begun = calls_of(delta)
        for call in going_on:
            events += self._call(call)
        if delta.reasoning:
            self._thinking.update(delta.reasoning.encode())
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            events += self._block("thinking", empty)
            events.append(self._piece({"type": "thinking_delta", "thinking": delta.reasoning}))
        if delta.text:
            events += self._block("text", {"type": "text", "text": ""})
            events.append(self._piece({"type": "text_delta", "text": delta.text}))
        for call in begun:
            events += self._call(call)
        return events

    def _call(self, call: ToolCallDelta) -> list[Event]:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        events = self._block(f"tool_use {call.index}", block)
        if call.arguments:
            piece = {"type": "input_json_delta", "partial_json": call.arguments}
            events.append(self._piece(piece))
        return events

    def _start(self, prompt_tokens: int, cached_tokens: int) -> list[Event]:
        if self._begun:
            return []
        self._begun = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage(prompt_tokens, cached_tokens, 0),
        }
        return [{"type": "message_start", "message": message}]

    def _block(self, kind: str, empty: dict[str, Any]) -> list[Event]:
        """Open a block of this kind, unless it is the one that is open."""
        if self._open == kind:
            return []
        events = self._close()
        self._open = kind
        return [
            *events,
            {"type": "content_block_start", "index": self._blocks, "content_block": empty},
        ]

    def _close(self) -> list[Event]:
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            signature = base64.b64encode(self._thinking.digest()).decode()
            events.append(self._piece({"type": "signature_delta", "signature": signature}))
        events.append({"type": "content_block_stop", "index": self._blocks})
        self._open = ""
        self._blocks += 1
        return events

    def _piece(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._blocks, "delta": delta}

    def _tail(self, done: GenerateDone) -> list[Event]:
        reason = _STOP_REASONS.get(done.finish_reason, "end_turn")
        sequence = done.stop_sequence if reason == "end_turn" and done.stop_sequence else None
        delta = {
            "stop_reason": "stop_sequence" if sequence else reason,
            "stop_sequence": sequence,
        }
        spent = usage(done.prompt_tokens, done.cached_tokens, done.completion_tokens)
        return [
            *self._start(done.prompt_tokens, done.cached_tokens),
            *self._close(),
            {"type": "message_delta", "delta": delta, "usage": spent},
            {"type": "message_stop"},
        ]

    # -- the whole ------------------------------------------------------------------------------

    def _add(self, event: Event) -> None:
        match event["type"]:
            case "message_start":
                self._message = event["message"]
            case "content_block_start":
                self._message["content"].append(event["content_block"])
            case "content_block_delta":
                self._extend(event["index"], event["delta"])
            case "content_block_stop":
                self._complete(event["index"])
            case "message_delta":
                self._message |= event["delta"]
                self._message["usage"] = event["usage"]
            case _:
                pass

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block = self._message["content"][index]
        match delta["type"]:
            case "input_json_delta":
                self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case _:
                block["text"] += delta["text"]

    def _complete(self, index: int) -> None:
        """Read a call's arguments; those that were cut off are not there, as with Anthropic.

        Nor are those that are nested too deeply to be read.
        """
        if index not in self._inputs:
            return
        try:
            arguments = msgspec.json.decode(self._inputs.pop(index))
        except (msgspec.DecodeError, RecursionError):
            return
        if isinstance(arguments, dict):
            self._message["content"][index]["input"] = arguments
