"""Real ranks under a real scheduler, step after step."""

from __future__ import annotations

from collections.abc import Iterable

from neuron_runtime.engine.events import Ended
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Ending, Sequence
from neuron_runtime.following_step import following
from neuron_runtime.torch_backend.backend import TorchBackend
from transports.schemas.group import ShardLoaded


def answered(
    backend: TorchBackend, loaded: ShardLoaded, limits: Limits, sequences: Iterable[Sequence]
) -> dict[int, Ending]:
    """Run ``sequences``, which come one in each step, until all have ended; return how.

    The ranks go on by themselves for as many rounds as a step has.
    """
    scheduler = Scheduler(limits)
    scheduler.configure(
        loaded.context_length,
        loaded.eos_token_ids,
        loaded.kv_blocks,
        alone=True,
        short_context=loaded.short_context,
    )
    scheduler.group_ready()
    coming, ends = list(sequences), dict[int, Ending]()
    while coming or not scheduler.idle:
        if coming:
            assert scheduler.submit(coming.pop(0)) is None
        step = scheduler.next_step(0.0)
        while step is not None:
            done = backend.step(step)
            more = step.rounds > 1
            events = scheduler.step_done(done.tokens, 0.0, more=more)
            scheduler.check_integrity()
            ends |= {each.sequence.id: each.end for each in events if isinstance(each, Ended)}
            step = following(step, done.tokens) if more else None
    return ends
