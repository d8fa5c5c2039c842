"""What goes into a step when more than one prompt could."""

from __future__ import annotations

from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Sequence
from transports.failures import FailureCode

LIMITS = Limits(max_running=4, max_queued=4, prefill_tokens=16, step_tokens=16, block_tokens=4)


def fed(scheduler: Scheduler) -> list[tuple[int, int]]:
    """Open a step; return how many tokens each sequence is fed in it."""
    step = scheduler.next_step(0.0)
    assert step is not None
    scheduler.check_integrity()
    return [(part.sequence, len(part.tokens)) for part in step.sequences]


def ready(*prompts: tuple[int, ...], blocks: int = 32) -> Scheduler:
    scheduler = Scheduler(LIMITS)
    scheduler.configure(1000, [], blocks)
    scheduler.group_ready()
    for number, prompt in enumerate(prompts, 1):
        assert scheduler.submit(Sequence(number, prompt)) is None
    return scheduler


def test_newcomers_share_the_budget_of_a_step_each_by_its_own_length() -> None:
    scheduler = ready((1,) * 3, (2,) * 9, (3,) * 9)

    assert fed(scheduler) == [(1, 3), (2, 9), (3, 4)]


def test_prompts_that_there_is_no_budget_for_any_more_are_in_no_part() -> None:
    scheduler = ready((1,) * 9, (2,) * 9)
    assert fed(scheduler) == [(1, 9), (2, 7)]
    scheduler.step_failed(FailureCode.OUT_OF_MEMORY, "no")

    assert fed(scheduler) == [(1, 4)]


def test_nobody_waits_for_a_prompt_that_ranks_without_blocks_could_not_use_again() -> None:
    scheduler = ready((5,) * 8, (5,) * 8, blocks=0)

    assert fed(scheduler) == [(1, 8), (2, 8)]
