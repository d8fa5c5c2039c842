"""Reads the server-sent events of one chat completion into its record; pure.

PERF: the generator shares the machine with the server it measures, so only the fields that are
counted are decoded, and text is never kept.
"""

from __future__ import annotations

from typing import Any, final

import msgspec

from cortex_actors.cli.bench.stream_record import StreamRecord

_MAX_LINE = 1 << 20


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


@final
class CompletionTally:
    """Counts one stream; feed it what was read, with the time of the read."""

    def __init__(self, record: StreamRecord) -> None:
        self._record = record
        self._decoder = msgspec.json.Decoder(_Chunk)
        self._rest = b""
        self._finished = False
        self.done = False

    def feed(self, data: bytes, now: float) -> None:
        """Count the events that ``data`` completes; sets ``done`` and the record's error."""
        if self.done:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        before = self._record.deltas
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())
        if len(self._rest) > _MAX_LINE:
            self._fail("an event has no end")
        if self._record.deltas > before:
            self._record.text_at.append(now)

    def end(self) -> None:
        """Nothing more will come. Some servers end with the finish reason, without ``[DONE]``."""
        if not self.done:
            if not self._finished:
                self._fail("the stream ended early")
            self.done = True

    def _event(self, payload: bytes) -> None:
        if payload == b"[DONE]":
            self.done = True
            return
        try:
            chunk = self._decoder.decode(payload)
        except msgspec.DecodeError as error:
            self._fail(f"an event cannot be read: {error}")
            return
        if chunk.error is not None:
            self._fail(error_text(chunk.error))
        for choice in chunk.choices or ():
            self._choice(choice)
        if chunk.usage is not None:
            self._usage(chunk.usage)

    def _choice(self, choice: _Choice) -> None:
        self._finished = self._finished or choice.finish_reason is not None
        delta = choice.delta
        if delta is not None and (
            delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls
        ):
            self._record.deltas += 1

    def _usage(self, usage: _Usage) -> None:
        self._record.prompt_tokens = usage.prompt_tokens
        self._record.completion_tokens = usage.completion_tokens
        details = usage.prompt_tokens_details
        self._record.cached_tokens = (details.cached_tokens or 0) if details else 0

    def _fail(self, error: str) -> None:
        self._record.error = self._record.error or error
        self.done = True


def error_text(error: Any) -> str:
    """Return what an OpenAI error object, or whatever came instead, says."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("code") or error
    return str(error)[:200]
