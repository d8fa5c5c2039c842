"""How the seats of a scheduler pass from one principal to another."""

from __future__ import annotations

from neuron_runtime.engine.events import Events
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Sequence
from transports.schemas.group import SampledToken, SequenceStep


def one_seat(*sequences: Sequence) -> Scheduler:
    scheduler = Scheduler(Limits(max_running=1, max_queued=8, block_tokens=4))
    scheduler.configure(1000, [], 32)
    scheduler.group_ready()
    for each in sequences:
        assert scheduler.submit(each) is None
    return scheduler


def opened(scheduler: Scheduler) -> SequenceStep:
    step = scheduler.next_step(0.0)
    assert step is not None
    (part,) = step.sequences
    return part


def run(scheduler: Scheduler) -> Events:
    return scheduler.step_done([SampledToken(opened(scheduler).sequence, 50)], 0.0)


def test_the_seat_goes_to_whoever_was_served_the_fewest_tokens() -> None:
    prompts = {1: "a", 2: "a", 3: "b"}
    scheduler = one_seat(
        *(Sequence(n, (n, 5), max_tokens=1, principal=who) for n, who in prompts.items())
    )
    run(scheduler)

    assert opened(scheduler).sequence == 3


def test_what_a_sequence_takes_up_again_of_its_own_was_not_saved_for_it() -> None:
    nameless = Sequence(1, tuple(range(8)))
    scheduler = one_seat(nameless)
    run(scheduler)
    named = Sequence(2, (9,), max_tokens=1, principal="key")
    assert scheduler.submit(named) is None
    run(scheduler)

    part = opened(scheduler)
    assert (part.sequence, part.position) == (1, 8)
    assert nameless.reused == 0
