"""Streams that have seen nothing of their last token are spared the next part of a prompt."""

from __future__ import annotations

from neuron_runtime.engine.scheduler import Scheduler
from tests.unit.engine.test_scheduling import SMALL, draw, ids, run, step, submit
from transports.schemas.group import SampledToken


def test_a_stream_whose_last_token_showed_nothing_is_not_held_up_by_prompts() -> None:
    text = {50: b"a", 60: b"\xe2", 61: b"\x82", 62: b"\xac", 63: b"\xf0", 64: b""}
    scheduler = Scheduler(SMALL, shown=text.__getitem__)
    scheduler.configure(1000, [2], 256)
    scheduler.group_ready()
    submit(scheduler, 1)
    run(scheduler, 2)
    submit(scheduler, 2, prompt=900)
    fed = []
    for token in (60, 61, 62, 63, 63, 63, 63, 63, 50, 64, 50):
        fed.append(ids(step(scheduler)))
        draw(scheduler, token)

    both, alone = [1, 2], [1]
    assert fed == [both, alone, alone, both, *[alone] * 3, both, alone, both, alone]
    assert ids(step(scheduler)) == both


def test_it_is_spared_all_that_its_character_lacks_in_rounds_of_one_step() -> None:
    text = {50: b"a", 60: b"\xe2", 61: b"\x82", 62: b"\xac"}
    scheduler = Scheduler(SMALL, shown=text.__getitem__)
    scheduler.configure(1000, [2], 256, alone=True)
    scheduler.group_ready()
    submit(scheduler, 1)
    run(scheduler)
    submit(scheduler, 2, prompt=900)
    assert ids(step(scheduler)) == [1, 2]
    draw(scheduler, 60)

    spared = step(scheduler)
    assert (ids(spared), spared.rounds) == ([1], 2)
    before = scheduler.rounds_to_end
    submit(scheduler, 3)
    assert (before, scheduler.rounds_to_end) == (None, spared.step)
    scheduler.step_done([SampledToken(1, 61)], 0.0, more=True)
    draw(scheduler, 62)
    assert ids(step(scheduler)) == [1, 2]
