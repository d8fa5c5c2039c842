"""Joins the streams of OpenAI's chat and text completions, knowing nothing of the encoders."""

from __future__ import annotations

from typing import Any

from tests.unit.dialects.stream_client import DONE, Asked, Frame

_HEAD = ("id", "object", "created", "model")


class OpenAIClient:
    """What the two APIs share: choices that end once each, one usage, one ``[DONE]``."""

    streamed = whole_kind = ""

    def __init__(self, asked: Asked) -> None:
        self.closed = False
        self.signs: list[str] = []
        self.error: dict[str, Any] | None = None
        self.choices: dict[int, dict[str, Any]] = {}
        self._asked = asked
        self._head: dict[str, Any] | None = None
        self._usage: dict[str, Any] | None = None

    def read(self, frame: Frame) -> None:
        """Take the next event."""
        assert not self.closed, "an event after [DONE]"
        assert self.error is None, "an event after the error"
        assert frame.name == "", "OpenAI's older streams name no events"
        if frame.data == DONE:
            self._end()
        elif "error" in frame.data:
            self.error = frame.data["error"]
        else:
            self._chunk(frame.data)

    def whole(self) -> dict[str, Any]:
        """Return the joined object; one without usage if none was asked for."""
        assert self._head is not None
        choices = [self.choices[index] for index in sorted(self.choices)]
        usage = {"usage": self._usage} if self._asked.usage else {}
        return {**self._head, "object": self.whole_kind, "choices": choices, **usage}

    def add(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        """Add a chunk's piece to its choice."""
        raise NotImplementedError

    def empty(self, index: int) -> dict[str, Any]:
        """Return a choice of which nothing has come."""
        raise NotImplementedError

    def _end(self) -> None:
        self.signs.append(DONE)
        assert self._all_finished(), "[DONE] with a choice that has not finished"
        assert (self._usage is not None) == self._asked.usage
        self.closed = True

    def _chunk(self, chunk: dict[str, Any]) -> None:
        assert self._usage is None, "a chunk after the usage"
        assert chunk["object"] == self.streamed
        head = {key: chunk[key] for key in _HEAD}
        assert self._head in (None, head), "chunks of one answer have one head"
        self._head = head
        assert ("usage" in chunk) == self._asked.usage
        if not chunk["choices"]:
            self.signs.append("usage")
            assert self._all_finished(), "usage before the last choice finished"
            assert chunk["usage"] is not None
            self._usage = chunk["usage"]
            return
        assert chunk.get("usage") is None
        for piece in chunk["choices"]:
            self._piece(piece)

    def _piece(self, piece: dict[str, Any]) -> None:
        index = piece["index"]
        assert 0 <= index < self._asked.choices
        choice = self.choices.setdefault(index, self.empty(index))
        assert choice["finish_reason"] is None, "a piece of a choice that has finished"
        self.add(choice, piece)
        if piece["finish_reason"] is not None:
            choice["finish_reason"] = piece["finish_reason"]
            self.signs.append("finish_reason")

    def _all_finished(self) -> bool:
        finished = [each for each in self.choices.values() if each["finish_reason"] is not None]
        return len(finished) == self._asked.choices


class ChatClient(OpenAIClient):
    """Joins ``chat.completion.chunk`` objects."""

    streamed = "chat.completion.chunk"
    whole_kind = "chat.completion"

    def empty(self, index: int) -> dict[str, Any]:
        """Return a choice without a role."""
        return {"index": index, "message": {}, "logprobs": None, "finish_reason": None}

    def add(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        """Add a delta: the first has the role, and only that."""
        message, delta = choice["message"], piece["delta"]
        assert ("role" in delta) == (not message), "the role comes once, with the first piece"
        if not message:
            message.update(delta)
            assert set(message) == {"role", "content", "refusal"}
            return
        assert set(delta) <= {"content", "reasoning_content", "tool_calls"}
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = (message.get(name) or "") + delta[name]
        for call in delta.get("tool_calls", ()):
            self._call(message, call)
        if piece["logprobs"] is not None:
            known = (choice["logprobs"] or {"content": []})["content"]
            content = [*known, *piece["logprobs"]["content"]]
            choice["logprobs"] = {**piece["logprobs"], "content": content}

    def _call(self, message: dict[str, Any], piece: dict[str, Any]) -> None:
        calls = message.setdefault("tool_calls", [])
        if piece["index"] == len(calls):
            assert piece["id"]
            assert piece["function"]["name"]
            calls.append({key: value for key, value in piece.items() if key != "index"})
            return
        assert piece["index"] == len(calls) - 1, "a piece of a call that is not open"
        assert set(piece) == {"index", "function"}, "a call is named once"
        assert set(piece["function"]) == {"arguments"}
        function = calls[-1]["function"]
        arguments = function["arguments"] + piece["function"]["arguments"]
        calls[-1] = {**calls[-1], "function": {**function, "arguments": arguments}}


class CompletionClient(OpenAIClient):
    """Joins ``text_completion`` objects."""

    streamed = whole_kind = "text_completion"

    def empty(self, index: int) -> dict[str, Any]:
        """Return a choice without text."""
        return {"index": index, "text": "", "logprobs": None, "finish_reason": None}

    def add(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        """Add text and its log probabilities."""
        choice["text"] += piece["text"]
        if piece["logprobs"] is not None:
            known = choice["logprobs"] or {key: [] for key in piece["logprobs"]}
            choice["logprobs"] = {key: [*known[key], *piece["logprobs"][key]] for key in known}
