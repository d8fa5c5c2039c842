"""From output tokens to what a client may see: text, reasoning and tool calls. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

from neuron_runtime.engine.detokenizer import Decoder, Detokenizer
from neuron_runtime.engine.parsers.pieces import (
    CallArguments,
    CallBegan,
    Content,
    OutputParser,
    Piece,
    Reasoning,
)
from neuron_runtime.engine.stop import StopMatcher
from transports.schemas.generate import TextDelta, TokenLogprob, ToolCallDelta


@final
class OutputText:
    """One choice: whole characters only, nothing of a stop string, and nothing of a marker.

    Tokens go through the detokenizer, the stop strings and the ``parser``; without one, all is
    text. Each delta covers all tokens since the last, so the deltas' tokens are contiguous; tokens
    whose text is never shown (an end token, a stop string) are in none.

    ``visible`` are special tokens that have text for this parser, by id; ``before`` the last tokens
    of a text that the output goes on from. With ``parallel`` off the output stops where a second
    call begins.
    """

    __slots__ = (
        "_calls",
        "_choice",
        "_detokenizer",
        "_draw_id",
        "_logprobs",
        "_next",
        "_one_call",
        "_parser",
        "_second_call",
        "_stop",
        "_told_reasoning",
        "_unshown",
        "may_stop",
        "reasoning_tokens",
    )

    def __init__(
        self,
        decoder: Decoder,
        stops: Sequence[str] = (),
        parser: OutputParser | None = None,
        *,
        visible: Mapping[int, str] | None = None,
        before: Sequence[int] = (),
        choice: int = 0,
        parallel: bool = True,
        draw_id: Callable[[], str] | None = None,
    ) -> None:
        self._detokenizer = Detokenizer(decoder, visible, before)
        self._stop = StopMatcher(stops)
        self._parser = parser
        self._choice = choice
        self._one_call = not parallel
        self.may_stop = bool(stops) or self._one_call
        """Whether the text can end before its tokens do."""
        self._draw_id = draw_id
        self._next = 0
        self._unshown: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls = 0
        self._second_call = False
        self.reasoning_tokens = 0
        self._told_reasoning = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come, or the one call is over; nothing follows."""
        return self._stop.matched or self._second_call

    @property
    def stop_sequence(self) -> str:
        """The stop string that has come; empty if none has."""
        return self._stop.which

    @property
    def called_tools(self) -> bool:
        """Whether a tool call has come, which makes an output that stops end with tool_calls."""
        return self._calls > 0

    @property
    def in_reasoning(self) -> bool:
        """Whether the next token belongs to reasoning, which no constraint applies to."""
        return self._parser is not None and self._parser.in_reasoning

    def push(self, token: int, logprob: TokenLogprob | None = None) -> TextDelta | None:
        """Take the next output token, with its log probability if the client asked for it."""
        self._unshown.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        self.reasoning_tokens += self.in_reasoning
        text = self._stop.push(self._detokenizer.push(token))
        if self._parser is None:
            return self._delta([Content(text)]) if text else None
        return self._delta(self._parser.push(text)) if text else None

    def finish(self) -> TextDelta | None:
        """Return what was held back; the output is over."""
        text = self._stop.push(self._detokenizer.flush())
        text += "" if self._stop.matched else self._stop.flush()
        if self._parser is None:
            return self._delta([Content(text)])
        if self._second_call:
            # What is left is the second call's.
            return None
        return self._delta([*self._parser.push(text), *self._parser.finish()])

    def _delta(self, pieces: Iterable[Piece]) -> TextDelta | None:
        text, reasoning, calls = "", "", list[ToolCallDelta]()
        for piece in pieces:
            match piece:
                case Content():
                    text += piece.text
                case Reasoning():
                    reasoning += piece.text
                case CallBegan():
                    self._begin_call(piece.name, calls)
                case CallArguments():
                    self._extend_call(piece.text, calls)
            if self._second_call:
                break
        if not text and not reasoning and not calls:
            return None
        return self._covering(text, reasoning, tuple(calls))

    def _covering(self, text: str, reasoning: str, calls: tuple[ToolCallDelta, ...]) -> TextDelta:
        delta = TextDelta(
            text,
            self._next,
            tuple(self._unshown),
            self._choice,
            reasoning,
            calls,
            tuple(self._logprobs),
            reasoning_tokens=self.reasoning_tokens - self._told_reasoning,
        )
        self._told_reasoning = self.reasoning_tokens
        self._next += len(self._unshown)
        self._unshown.clear()
        self._logprobs.clear()
        return delta

    def _begin_call(self, name: str, calls: list[ToolCallDelta]) -> None:
        if self._one_call and self._calls:
            self._second_call = True
            return
        id_ = self._draw_id() if self._draw_id is not None else f"call_{self._calls}"
        calls.append(ToolCallDelta(self._calls, id_, name))
        self._calls += 1

    def _extend_call(self, arguments: str, calls: list[ToolCallDelta]) -> None:
        if not calls:
            calls.append(ToolCallDelta(self._calls - 1))
        last = calls[-1]
        calls[-1] = ToolCallDelta(last.index, last.id, last.name, last.arguments + arguments)
