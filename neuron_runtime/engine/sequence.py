"""One output being generated: the token ids that are known, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from transports.schemas.group import SampleParams, SequenceStep
from transports.schemas.link import Failure


class FinishReason(StrEnum):
    """How a generation ends well, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


Ending = FinishReason | Failure


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; a ``seed`` gives the same output alone, batched and replayed."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def at(self, index: int) -> SampleParams:
        """Return the parameters for drawing output token ``index``."""
        return SampleParams(self.temperature, self.top_p, self.top_k, self.seed, index)


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output ids: all that is needed to go on, on this group or on its successor.

    ``cached`` tokens, counted from the start, have been fed to the ranks of the present epoch. A
    sequence that is ``alone`` is under suspicion and shares no step until it has drawn a token.
    ``deadline``, ``arrived``, ``started`` and ``first_token`` are monotonic seconds.
    """

    id: int
    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    deadline: float | None = None
    arrived: float = 0.0
    output: list[int] = field(default_factory=list)
    cached: int = 0
    alone: bool = False
    started: float | None = None
    first_token: float | None = None

    @property
    def length(self) -> int:
        """How many tokens are known."""
        return len(self.prompt) + len(self.output)

    @property
    def pending(self) -> int:
        """How many known tokens the ranks have not been fed; 1 while decoding."""
        return self.length - self.cached

    def feed(self, limit: int) -> SequenceStep:
        """Return the part of a step that feeds up to ``limit`` pending tokens.

        A token is drawn only after the last known one.
        """
        count = min(limit, self.pending)
        last = self.cached + count == self.length
        return SequenceStep(
            sequence=self.id,
            position=self.cached,
            tokens=self._tokens(self.cached, self.cached + count),
            sample=self.sampling.at(len(self.output)) if last else None,
        )

    def _tokens(self, start: int, stop: int) -> tuple[int, ...]:
        prompt = len(self.prompt)
        if start >= prompt:
            return tuple(self.output[start - prompt : stop - prompt])
        return (*self.prompt[start:stop], *self.output[: max(0, stop - prompt)])
