"""One output being generated: the token ids that are known, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from transports.schemas.group import SampleParams, SequenceStep
from transports.schemas.link import Failure

_SEED_BITS = (1 << 63) - 1
_WORD = (1 << 64) - 1


class FinishReason(StrEnum):
    """How a generation ends well, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


Ending = FinishReason | Failure


class TokenMask(Protocol):
    """What a constrained output may go on with; its state survives the group's loss by itself."""

    def mask(self) -> bytes | None:
        """Return the next token's row of the mask frame (see ``Step``); None allows every token."""
        ...

    def accept(self, token: int) -> bool:
        """Take the token that was drawn, once each, in order; False if it was not allowed.

        An end token that ends the output is not told.
        """
        ...

    @property
    def failure(self) -> Failure | None:
        """Why a token was not accepted that ``mask`` allows; None if it does not."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; a ``seed`` gives the same output alone, batched and replayed.

    The fields are those of ``SampleParams``.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int = -1

    @property
    def counts_tokens(self) -> bool:
        """Whether the choice depends on which tokens are known already."""
        return bool(
            self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1.0
        )

    def at(self, index: int, *, masked: bool = False) -> SampleParams:
        """Return the parameters for drawing output token ``index``."""
        return SampleParams(
            self.temperature,
            self.top_p,
            self.top_k,
            self.seed,
            index,
            self.min_p,
            self.frequency_penalty,
            self.presence_penalty,
            self.repetition_penalty,
            self.logit_bias,
            self.logprobs,
            masked,
        )

    def of_choice(self, number: int) -> Sampling:
        """Return the same for choice ``number``: another seed, but for choice 0."""
        return self if number == 0 else replace(self, seed=_mixed(self.seed, number))


@dataclass(slots=True, eq=False)
class Request:
    """What the sequences of one request have in common: its ``id``, for the log.

    And whether any of them has ``begun``: had a seat, here or where it comes from.
    """

    id: str = ""
    begun: bool = False


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output ids: all that is needed to go on, on this group or on its successor.

    ``cached`` tokens, counted from the start, have keys and values in ``blocks``. The ranks of the
    present epoch have a table of the first ``told`` of these if the sequence has ``begun``.
    ``keys`` identify its full blocks by content; those of the first ``published`` are reusable.
    ``reused`` prompt tokens were not computed for it, None before its first step.

    A sequence that is ``alone`` is under suspicion and shares no step until it has drawn a token.
    What is cached of one that is ``long`` was computed as such, see ``SequenceStep``.
    ``deadline``, ``arrived``, ``started`` and ``first_token`` are monotonic seconds.
    """

    id: int
    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    deadline: float | None = None
    arrived: float = 0.0
    principal: str = ""
    request: Request = field(default_factory=Request)
    ignore_eos: bool = False
    mask: TokenMask | None = None
    output: list[int] = field(default_factory=list)
    cached: int = 0
    begun: bool = False
    told: int = 0
    blocks: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    published: int = 0
    reused: int | None = None
    alone: bool = False
    long: bool = False
    started: float | None = None
    first_token: float | None = None

    @property
    def length(self) -> int:
        """How many tokens are known."""
        return len(self.prompt) + len(self.output)

    @property
    def pending(self) -> int:
        """How many known tokens the ranks have not been fed; 1 while decoding."""
        return len(self.prompt) + len(self.output) - self.cached

    def feed(self, limit: int, *, masked: bool = False) -> SequenceStep:
        """Return the part of a step that feeds up to ``limit`` pending tokens.

        A token is drawn only after the last known one. From then on the ranks count as having the
        table.
        """
        cached, begin = self.cached, not self.begun
        count = min(limit, self.pending)
        blocks: tuple[int, ...] = ()
        if self.told < len(self.blocks):
            blocks = tuple(self.blocks[self.told :])
            self.told = len(self.blocks)
        self.begun = True
        return SequenceStep(
            self.id,
            cached,
            self.tokens(cached, cached + count),
            self.sampling.at(len(self.output), masked=masked) if count == self.pending else None,
            blocks,
            begin,
            self.tokens(0, cached) if begin and self.sampling.counts_tokens else (),
            self.long,
        )

    def rewind(self) -> None:
        """The ranks have no table of it (any more); what its blocks hold is still there."""
        self.begun = False
        self.told = 0

    def tokens(self, start: int, stop: int) -> tuple[int, ...]:
        """Return the known tokens from position ``start`` to before ``stop``."""
        prompt = len(self.prompt)
        if start >= prompt:
            return tuple(self.output[start - prompt : stop - prompt])
        return (*self.prompt[start:stop], *self.output[: max(0, stop - prompt)])


def _mixed(seed: int, number: int) -> int:
    """Return a seed (splitmix64) whose draws have nothing to do with those of its neighbours."""
    word = (seed + number * 0x9E3779B97F4A7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return (word ^ (word >> 31)) & _SEED_BITS
