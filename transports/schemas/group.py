"""Bodies between an engine process and the ranks of its tensor-parallel group.

Every operation is fanned out to all ranks and answered by all of them (semantics I1, I8).
"""

from __future__ import annotations

from transports.schemas.body import Body


class LoadShard(Body, frozen=True):
    """Join the group's collectives and load this rank's share of the weights.

    Keys and values live in blocks of ``block_tokens`` tokens; ``kv_bytes`` limits the memory for
    them on this rank, 0 leaves the choice to the rank, which measures what is free.
    """

    model_dir: str
    rank: int
    world_size: int
    device: str
    dtype: str
    rendezvous: str
    threads: int
    quant: str = "none"
    block_tokens: int = 16
    kv_bytes: int = 0


class ShardLoaded(Body, frozen=True):
    """This rank is ready to step.

    ``kv_blocks`` is how many blocks of keys and values it holds, numbered from 0, and ``kv_bytes``
    what they take. A sequence of more than ``short_context`` tokens is computed otherwise, from its
    first token on (``SequenceStep.long``); 0 if none is.
    """

    rank: int
    weight_bytes: int
    load_s: float
    context_length: int
    eos_token_ids: tuple[int, ...] = ()
    kv_blocks: int = 0
    kv_bytes: int = 0
    short_context: int = 0


class SampleParams(Body, frozen=True):
    """How to choose the next token of one sequence.

    ``temperature`` 0 is greedy. The random draw depends only on ``seed`` and ``index`` (the index
    of the token to be drawn in the output), so it is the same alone, in a batch, and after a
    replay.

    The frequency and presence penalties count the output, that is the last ``index`` known tokens;
    the repetition penalty counts the prompt too. ``logit_bias`` is (token, bias) pairs.
    ``logprobs`` is how many alternatives to report beside the drawn token's own log probability;
    -1 reports nothing. ``masked`` says that a row of the step's mask frame is this sequence's.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    index: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int = -1
    masked: bool = False


class SequenceStep(Body, frozen=True):
    """Feed ``tokens`` at ``position`` of ``sequence``; sample after, unless ``sample`` is None.

    ``blocks`` are appended to the sequence's table of KV blocks first: block ``position //
    block_tokens`` of the table holds the keys and values of ``position``. ``begin`` opens a new
    table; its ``position`` may be past 0 where blocks already hold a prefix, and ``history`` is
    then the tokens before it, sent only if the sampling counts them. Once a sequence is ``long``,
    none of its blocks holds what was computed before it was.
    """

    sequence: int
    position: int
    tokens: tuple[int, ...]
    sample: SampleParams | None = None
    blocks: tuple[int, ...] = ()
    begin: bool = False
    history: tuple[int, ...] = ()
    long: bool = False


class Step(Body, frozen=True):
    """One forward pass for a batch of sequences; the tables of those in ``forget`` go first.

    With more ``rounds`` than one, passes follow in which everyone is fed the token just drawn,
    unasked. The StepDone of each but the last comes as a CHUNK, that of the last as the RESULT;
    after an ``EndRounds`` the pass under way is the last.

    If any sequence is ``masked``, the message's one raw frame holds a row of little-endian 32-bit
    words for each of them, in order: bit i of word w allows token 32 * w + i.
    """

    step: int
    sequences: tuple[SequenceStep, ...]
    forget: tuple[int, ...] = ()
    rounds: int = 1


class EndRounds(Body, frozen=True):
    """To a rank: begin no further pass of this step. Nothing, if it is over."""

    step: int


class SampledToken(Body, frozen=True):
    """The token drawn for one sequence, with log probabilities if they were asked for."""

    sequence: int
    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class StepDone(Body, frozen=True):
    """A rank's answer to a Step; only rank 0 carries tokens, the others acknowledge."""

    step: int
    rank: int
    tokens: tuple[SampledToken, ...] = ()


class EmbedStep(Body, frozen=True):
    """One forward pass that pools each of ``sequences`` into a vector of length 1."""

    step: int
    sequences: tuple[tuple[int, ...], ...]


class EmbedStepDone(Body, frozen=True):
    """A rank's answer to EmbedStep; rank 0's raw frame holds the float32 rows, one a sequence."""

    step: int
    rank: int
    dimensions: int = 0


class ClearCache(Body, frozen=True):
    """Drop every sequence's keys and values."""


class CacheCleared(Body, frozen=True):
    """A rank's answer to ClearCache."""

    rank: int


class SleepShard(Body, frozen=True):
    """Give up the device but not the weights: keys and values go, weights wait in host memory."""


class ShardAsleep(Body, frozen=True):
    """A rank's answer to SleepShard; ``device_bytes`` is what it could not give back."""

    rank: int
    device_bytes: int = 0


class WakeShard(Body, frozen=True):
    """Take the device again, with empty keys and values; answered with ShardLoaded."""


class InjectFault(Body, frozen=True):
    """Operator to daemon, engine and rank: misbehave on purpose (``neurond chaos``).

    ``fault`` and ``phase`` are words of ``neuron_runtime.faults``. The first ``after`` occasions
    pass undisturbed, the next ``times`` do not; ``seconds`` is how slow slow is. ``starting``
    strikes the process that takes the rank's place next.
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
