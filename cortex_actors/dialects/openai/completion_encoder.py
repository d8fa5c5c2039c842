"""Generation events as OpenAI text completion objects; pure.

As in a chat, joining the streamed objects gives the whole one.
"""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from dataclasses import dataclass, field
from typing import Any, final

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.openai.stream_form import OpenAIStream
from cortex_actors.dialects.openai.usage import finish_reason_of, finite, usage_of
from transports.schemas.generate import GenerateDone, TextDelta, TokenLogprob, TopLogprob

_UTF8 = getincrementaldecoder("utf-8")
_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    offset: int = 0
    characters: IncrementalDecoder = field(default_factory=lambda: _UTF8("replace"))
    logprobs: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _LISTS})

    def add(self, delta: TextDelta) -> dict[str, list[Any]] | None:
        """Add a delta; return its own log probabilities."""
        self.text.append(delta.text)
        if not delta.logprobs:
            return None
        added: dict[str, list[Any]] = {name: [] for name in _LISTS}
        for token in delta.logprobs:
            added["tokens"].append(_name(token))
            added["token_logprobs"].append(finite(token.logprob))
            added["top_logprobs"].append(_top(token))
            added["text_offset"].append(self.offset)
            # Of several tokens that are one character, each is where that is.
            self.offset += len(self.characters.decode(token.token_bytes or token.text.encode()))
        for name in _LISTS:
            self.logprobs[name] += added[name]
        return added


@final
class CompletionEncoder(OpenAIStream):
    """One response's encoder; feed it every event in order, up to GenerateDone."""

    def __init__(
        self, request_id: str, model: str, created: int, *, include_usage: bool, choices: int = 1
    ) -> None:
        self._id = f"cmpl-{request_id}"
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._choices = [_Choice() for _ in range(choices)]

    def chunks(self, event: GenerationEvent) -> list[dict[str, Any]]:
        """Return the objects of one event of a stream; most have one or none."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta() if event.text:
                logprobs = self._choices[event.choice].add(event)
                return [self._object([_choice(event.choice, event.text, logprobs, None)])]
            case GenerateDone():
                return self._tail(event)
            case _:
                pass
        return []

    def gather(self, event: GenerationEvent) -> dict[str, Any] | None:
        """Take the next event; return the whole object once it is the last."""
        match event:
            case Started():
                self._model = event.model
            case TextDelta() if event.text:
                self._choices[event.choice].add(event)
            case GenerateDone():
                return self._whole(event)
            case _:
                pass
        return None

    def _whole(self, done: GenerateDone) -> dict[str, Any]:
        choices = [
            _choice(
                index,
                "".join(choice.text),
                choice.logprobs if choice.logprobs["tokens"] else None,
                finish_reason_of(done, index),
            )
            for index, choice in enumerate(self._choices)
        ]
        return {**self._head(), "choices": choices, "usage": usage_of(done)}

    def _tail(self, done: GenerateDone) -> list[dict[str, Any]]:
        tail = [
            self._object([_choice(index, "", None, finish_reason_of(done, index))])
            for index in range(len(self._choices))
        ]
        if self._include_usage:
            tail.append({**self._head(), "choices": [], "usage": usage_of(done)})
        return tail

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self._head(), "choices": choices}
        return {**chunk, "usage": None} if self._include_usage else chunk

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
        }


def _choice(
    index: int, text: str, logprobs: dict[str, list[Any]] | None, finish_reason: str | None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def _top(token: TokenLogprob) -> dict[str, float]:
    """Return the likeliest tokens, and the one that was drawn; of equal names the likeliest."""
    found: dict[str, float] = {}
    tokens: tuple[TokenLogprob | TopLogprob, ...] = (*token.top, token)
    for each in tokens:
        found.setdefault(_name(each), finite(each.logprob))
    return found


def _name(token: TokenLogprob | TopLogprob) -> str:
    """Return a token's text; what is no whole text as OpenAI writes it, or all would be one."""
    try:
        return token.token_bytes.decode() or token.text
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.token_bytes)
