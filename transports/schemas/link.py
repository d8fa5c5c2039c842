"""Bodies that every link speaks, whatever it carries."""

from __future__ import annotations

from typing import Annotated

import msgspec

from transports.schemas.body import Body

Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class Hello(Body, frozen=True):
    """First message of the connecting end: who it is."""

    boot: Unsigned
    slot: Unsigned
    inc: Unsigned
    pid: Unsigned
    role: str
    name: str
    protocol_min: Unsigned
    protocol_max: Unsigned
    capabilities: tuple[str, ...] = ()


class Welcome(Body, frozen=True):
    """The listening end's consent, with its own boot id: a new boot is a new process."""

    boot: Unsigned
    name: str
    protocol: Unsigned
    capabilities: tuple[str, ...] = ()


class Goodbye(Body, frozen=True):
    """Either end leaves, or a listener refuses a Hello. ``reason`` is a stable word."""

    reason: str
    detail: str = ""


class Ping(Body, frozen=True):
    """A question whose answer proves that the peer's main loop turns."""

    nonce: Unsigned


class Pong(Body, frozen=True):
    """The answer to the Ping with the same nonce."""

    nonce: Unsigned


class GenerationFigures(Body, frozen=True):
    """What a generation came to: tokens, and seconds by phase.

    ``completion_tokens`` are all that were drawn, for all choices; ``cached_tokens`` are part of
    the prompt's, ``reasoning_tokens`` of the completion's.
    """

    prompt_tokens: Unsigned = 0
    cached_tokens: Unsigned = 0
    completion_tokens: Unsigned = 0
    reasoning_tokens: Unsigned = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


class Failure(Body, frozen=True):
    """Body of every ERROR: one typed failure that a user may be shown.

    ``code`` is a stable word from ``transports.failures.FailureCode``; ``param`` names the
    offending request field; ``detail`` carries facts for logs and error extras. ``figures`` are
    there if it ends a generation that an engine had accepted.
    """

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    detail: dict[str, str] = msgspec.field(default_factory=dict)
    figures: GenerationFigures | None = None


class Cancel(Body, frozen=True):
    """The asker no longer wants the answer to ``corr`` of the envelope."""

    reason: str = ""


class Drain(Body, frozen=True):
    """Accept nothing new, finish what runs within ``grace_s``, then cancel the rest."""

    grace_s: float


class Drained(Body, frozen=True):
    """Nothing runs any more."""


class LinkDrops(Body, frozen=True):
    """Child to parent, a NOTE: how many messages a process refused since it last said so.

    ``role`` is what the process is; whoever stands between it and the daemon passes this on.
    """

    role: str
    drops: dict[str, Unsigned]
