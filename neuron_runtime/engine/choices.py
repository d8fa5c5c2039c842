"""The choices of one request, from their first tokens to the request's one answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import msgspec

from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.sequence import FinishReason, Sequence
from transports.schemas.generate import GenerateDone, TextDelta, TokenLogprob
from transports.schemas.link import GenerationFigures

_TOOL_CALLS = "tool_calls"


@dataclass(slots=True)
class _Choice:
    sequence: Sequence
    text: OutputText
    finish_reason: str = ""


@final
class Choices:
    """A sequence and its text for each choice, in order. Times are monotonic seconds.

    ``completion_tokens`` counts all that was drawn, end tokens too.
    """

    def __init__(self, choices: list[tuple[Sequence, OutputText]]) -> None:
        self._choices = {sequence.id: _Choice(sequence, text) for sequence, text in choices}
        self._unfinished = len(choices)
        self._told_prompt = False

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompt has, which all choices share."""
        return len(next(iter(self._choices.values())).sequence.prompt)

    @property
    def completion_tokens(self) -> int:
        """How many tokens have been drawn, for all choices together."""
        return sum(len(each.sequence.output) for each in self._choices.values())

    @property
    def finished(self) -> bool:
        """Whether every choice has finished."""
        return not self._unfinished

    @property
    def waiting(self) -> bool:
        """Whether one has tokens that are still to be computed, for the first time or again."""
        return any(
            choice.sequence.pending > 1
            for choice in self._choices.values()
            if not choice.finish_reason
        )

    def unfinished(self) -> list[int]:
        """Return the sequences that have not finished."""
        return [each for each, choice in self._choices.items() if not choice.finish_reason]

    def replay(self) -> bool:
        """Take the output that the client has already, without telling it again.

        Returns:
            Whether the constraint allows it.
        """
        for choice in self._choices.values():
            mask = choice.sequence.mask
            for token in choice.sequence.output:
                if mask is not None and not mask.accept(token):
                    return False
                choice.text.push(token)
        return True

    def push(self, sequence: int, token: int, logprob: TokenLogprob | None) -> TextDelta | None:
        """Take a choice's next token."""
        return self._introduced(self._choices[sequence].text.push(token, logprob))

    def decides(self, sequence: int) -> bool:
        """Whether a choice's text has a say in how its sequence goes on.

        A stop string or a second call ends it, and the end of reasoning begins its constraint.
        """
        choice = self._choices[sequence]
        return choice.sequence.mask is not None or choice.text.may_stop

    def is_stopped(self, sequence: int) -> bool:
        """Whether a choice's text is over, though its sequence goes on."""
        return self._choices[sequence].text.stopped

    def finish(self, sequence: int, reason: FinishReason) -> TextDelta | None:
        """A choice's sequence has ended well; return what was held back of its text."""
        choice = self._choices[sequence]
        delta = choice.text.finish()
        if choice.text.stopped:
            reason = FinishReason.STOP
        called = reason is FinishReason.STOP and choice.text.called_tools
        choice.finish_reason = _TOOL_CALLS if called else reason.value
        self._unfinished -= 1
        return self._introduced(delta)

    @property
    def _cached_tokens(self) -> int:
        first = next(iter(self._choices.values())).sequence
        return min(first.reused or 0, self.prompt_tokens)

    def _introduced(self, delta: TextDelta | None) -> TextDelta | None:
        """Return the delta; the request's first one tells of the prompt."""
        if delta is None or self._told_prompt:
            return delta
        self._told_prompt = True
        arrived, started, first = self._milestones()
        return msgspec.structs.replace(
            delta,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self._cached_tokens,
            queue_s=started - arrived,
            prefill_s=first - started,
        )

    def _milestones(self, now: float = 0.0) -> tuple[float, float, float]:
        """Return when it arrived, took its first seat and drew its first token, else ``now``."""
        sequences = [each.sequence for each in self._choices.values()]
        arrived = sequences[0].arrived
        now = max(now, arrived)
        started = min((s.started for s in sequences if s.started is not None), default=now)
        first = min((s.first_token for s in sequences if s.first_token is not None), default=now)
        return arrived, started, max(started, first)

    def figures(self, now: float) -> GenerationFigures:
        """Return what the request has come to."""
        arrived, started, first = self._milestones(now)
        return GenerationFigures(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=sum(each.text.reasoning_tokens for each in self._choices.values()),
            queue_s=started - arrived,
            prefill_s=first - started,
            decode_s=max(0.0, now - first),
        )

    def done(self, now: float) -> GenerateDone:
        """Return the answer of a request whose choices have all finished."""
        choices = list(self._choices.values())
        reasons = tuple(each.finish_reason for each in choices)
        figures = self.figures(now)
        return GenerateDone(
            finish_reason=reasons[0],
            prompt_tokens=figures.prompt_tokens,
            completion_tokens=figures.completion_tokens,
            queue_s=figures.queue_s,
            prefill_s=figures.prefill_s,
            decode_s=figures.decode_s,
            cached_tokens=figures.cached_tokens,
            reasoning_tokens=figures.reasoning_tokens,
            finish_reasons=reasons if len(reasons) > 1 else (),
            stop_sequence=choices[0].text.stop_sequence,
        )
