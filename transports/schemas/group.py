"""Bodies between an engine process and the ranks of its tensor-parallel group.

Every operation is fanned out to all ranks and answered by all of them (semantics I1, I8).
"""

from __future__ import annotations

from transports.schemas.body import Body


class LoadShard(Body, frozen=True):
    """Join the group's collectives and load this rank's share of the weights."""

    model_dir: str
    rank: int
    world_size: int
    device: str
    dtype: str
    rendezvous: str
    threads: int
    quant: str = "none"


class ShardLoaded(Body, frozen=True):
    """This rank is ready to step."""

    rank: int
    weight_bytes: int
    load_s: float
    context_length: int
    eos_token_ids: tuple[int, ...] = ()


class SampleParams(Body, frozen=True):
    """How to choose the next token of one sequence.

    ``temperature`` 0 is greedy. The random draw depends only on ``seed`` and ``index`` (the index
    of the token to be drawn in the output), so it is the same alone, in a batch, and after a
    replay.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    index: int = 0


class SequenceStep(Body, frozen=True):
    """Feed ``tokens`` at ``position`` of ``sequence``; sample after, unless ``sample`` is None."""

    sequence: int
    position: int
    tokens: tuple[int, ...]
    sample: SampleParams | None = None


class Step(Body, frozen=True):
    """One forward pass for a batch of sequences; the caches of those in ``forget`` go first."""

    step: int
    sequences: tuple[SequenceStep, ...]
    forget: tuple[int, ...] = ()


class SampledToken(Body, frozen=True):
    """The token drawn for one sequence."""

    sequence: int
    token: int


class StepDone(Body, frozen=True):
    """A rank's answer to a Step; only rank 0 carries tokens, the others acknowledge."""

    step: int
    rank: int
    tokens: tuple[SampledToken, ...] = ()


class ClearCache(Body, frozen=True):
    """Drop every sequence's keys and values."""


class CacheCleared(Body, frozen=True):
    """A rank's answer to ClearCache."""

    rank: int


class InjectFault(Body, frozen=True):
    """Operator to daemon, engine and rank: misbehave on purpose (``neurond chaos``).

    ``fault`` and ``phase`` are words of ``neuron_runtime.faults``. The first ``after`` occasions
    pass undisturbed, the next ``times`` do not; ``seconds`` is how slow slow is.
    """

    fault: str
    phase: str
    rank: int = 0
    model: str = ""
    after: int = 0
    times: int = 1
    seconds: float = 0.0


class FaultArmed(Body, frozen=True):
    """Daemon to operator: the rank has been told."""

    model: str
    rank: int
