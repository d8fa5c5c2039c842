from __future__ import annotations

from collections.abc import Iterable

import pytest

from neuron_runtime.engine.events import Drawn, Ended, Events
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler, SchedulerCorrupt
from neuron_runtime.engine.sequence import Ending, FinishReason, Sampling, Sequence
from transports.failures import FailureCode
from transports.schemas.group import SampledToken, Step
from transports.schemas.link import Failure

EOS = 2
GONE = Failure(FailureCode.CANCELLED, "gone")


def ready(limits: Limits | None = None, context: int | None = 100) -> Scheduler:
    scheduler = Scheduler(limits or Limits())
    scheduler.configure(context, [EOS])
    scheduler.group_ready()
    return scheduler


def submit(scheduler: Scheduler, id_: int, prompt: int = 3, **more: object) -> Sequence:
    sequence = Sequence(id_, tuple(range(10, 10 + prompt)), **more)  # type: ignore[arg-type]
    assert scheduler.submit(sequence) is None
    return sequence


def step(scheduler: Scheduler) -> Step:
    opened = scheduler.next_step(0.0)
    assert opened is not None
    scheduler.check_integrity()
    return opened


def draw(scheduler: Scheduler, token: int = 50) -> Events:
    """Let the open step draw ``token`` for all of its sequences."""
    assert scheduler.open_step is not None
    parts = scheduler.open_step.sequences
    events = scheduler.step_done([SampledToken(p.sequence, token) for p in parts if p.sample], 1.0)
    scheduler.check_integrity()
    return events


def ids(opened: Step) -> list[int]:
    return [part.sequence for part in opened.sequences]


def ends(events: Iterable[object]) -> list[tuple[int, Ending | str]]:
    return [
        (event.sequence.id, event.end.code if isinstance(event.end, Failure) else event.end)
        for event in events
        if isinstance(event, Ended)
    ]


def test_a_prompt_is_fed_whole_then_token_by_token() -> None:
    scheduler = ready()
    sequence = submit(scheduler, 1, sampling=Sampling(0.5, 0.9, 7, 42))

    (part,) = step(scheduler).sequences
    assert (part.position, part.tokens) == (0, (10, 11, 12))
    assert part.sample == Sampling(0.5, 0.9, 7, 42).at(0)
    assert draw(scheduler) == (Drawn(sequence, 0, 50),)

    (part,) = step(scheduler).sequences
    assert (part.position, part.tokens) == (3, (50,))
    assert part.sample is not None
    assert part.sample.index == 1


def test_one_step_is_open_at_most() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)

    assert scheduler.next_step(0.0) is None


def test_a_long_prompt_is_fed_in_chunks_beside_those_that_decode() -> None:
    scheduler = ready(Limits(step_tokens=5, block_tokens=1))
    submit(scheduler, 1, prompt=2)
    step(scheduler)
    draw(scheduler)
    submit(scheduler, 2, prompt=6)
    submit(scheduler, 3, prompt=3)

    first = step(scheduler)
    assert [(p.sequence, len(p.tokens), p.sample is None) for p in first.sequences] == [
        (1, 1, False),
        (2, 4, True),
    ]
    draw(scheduler)
    second = step(scheduler)
    assert [(p.sequence, len(p.tokens), p.sample is None) for p in second.sequences] == [
        (1, 1, False),
        (2, 2, False),
        (3, 2, True),
    ]


def test_slots_are_filled_in_order_of_arrival_and_refilled_when_free() -> None:
    scheduler = ready(Limits(max_running=2))
    for number in (1, 2, 3):
        submit(scheduler, number)

    assert ids(step(scheduler)) == [1, 2]
    assert ends(draw(scheduler, EOS)) == [(1, FinishReason.STOP), (2, FinishReason.STOP)]
    assert ids(step(scheduler)) == [3]


def test_an_end_token_ends_and_is_not_shown() -> None:
    scheduler = ready()
    sequence = submit(scheduler, 1)
    step(scheduler)

    assert draw(scheduler, EOS) == (Ended(sequence, FinishReason.STOP),)
    assert sequence.output == [EOS]


def test_max_tokens_ends_with_length() -> None:
    scheduler = ready()
    sequence = submit(scheduler, 1, max_tokens=1)
    step(scheduler)

    assert draw(scheduler) == (Drawn(sequence, 0, 50), Ended(sequence, FinishReason.LENGTH))


def test_the_context_ends_with_length_whatever_max_tokens_says() -> None:
    scheduler = ready(context=5)
    submit(scheduler, 1, prompt=3, max_tokens=1000)
    step(scheduler)
    assert ends(draw(scheduler)) == []
    step(scheduler)

    assert ends(draw(scheduler)) == [(1, FinishReason.LENGTH)]


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    refusal = ready(context=5).submit(Sequence(1, (1, 2, 3, 4, 5)))

    assert refusal is not None
    assert refusal.code == FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert refusal.message.startswith("This model's maximum context length is 5 tokens")


def test_a_context_learnt_later_ends_what_cannot_fit() -> None:
    scheduler = Scheduler(Limits())
    submit(scheduler, 1, prompt=5)
    submit(scheduler, 2, prompt=2)

    events = scheduler.configure(4, [])

    assert ends(events) == [(1, FailureCode.CONTEXT_LENGTH_EXCEEDED)]
    assert scheduler.waiting == 1


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    scheduler = Scheduler(Limits(max_running=1, max_queued=1))
    submit(scheduler, 1)
    assert scheduler.refusal() is None
    submit(scheduler, 2)

    refusal = scheduler.submit(Sequence(3, (1,)))

    assert refusal is not None
    assert refusal.code == FailureCode.OVERLOADED
    assert refusal.retry_after_s == 2.0


def test_draining_refuses_what_is_new_and_finishes_what_is_not() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    scheduler.draining = True

    refusal = scheduler.submit(Sequence(2, (1,)))

    assert refusal is not None
    assert refusal.code == FailureCode.SHUTTING_DOWN
    assert ids(step(scheduler)) == [1]
    assert ends(scheduler.end_all(GONE)) == [(1, FailureCode.CANCELLED)]
    assert scheduler.idle


def test_a_queued_sequence_is_cancelled_at_once() -> None:
    scheduler = Scheduler(Limits())
    submit(scheduler, 1)

    assert ends(scheduler.end(1, GONE)) == [(1, FailureCode.CANCELLED)]
    assert scheduler.end(1, GONE) == ()
    assert scheduler.idle


def test_a_cancelled_sequence_is_dropped_from_its_step_and_forgotten_in_the_next() -> None:
    scheduler = ready(Limits(max_running=1))
    submit(scheduler, 1)
    submit(scheduler, 2)
    step(scheduler)
    scheduler.end(1, GONE)

    assert draw(scheduler) == ()
    following = step(scheduler)
    assert (ids(following), following.forget) == ([2], (1,))
    draw(scheduler)
    assert step(scheduler).forget == ()


def test_the_last_cache_is_forgotten_though_nothing_else_runs() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)
    draw(scheduler, EOS)

    last = step(scheduler)
    assert (last.sequences, last.forget) == ((), (1,))
    assert draw(scheduler) == ()
    assert scheduler.next_step(0.0) is None


@pytest.mark.parametrize("phase", ["queued", "running"])
def test_a_deadline_ends_a_sequence_at_any_phase(phase: str) -> None:
    scheduler = ready()
    submit(scheduler, 1, deadline=5.0)
    submit(scheduler, 2)
    if phase == "running":
        step(scheduler)

    assert scheduler.next_deadline() == 5.0
    assert scheduler.expire(4.9) == ()
    assert ends(scheduler.expire(5.0)) == [(1, FailureCode.DEADLINE_EXCEEDED)]
    assert scheduler.next_deadline() is None


def test_without_a_group_requests_wait() -> None:
    scheduler = Scheduler(Limits())
    submit(scheduler, 1)

    assert scheduler.next_step(0.0) is None
    assert scheduler.group_lost() == ()
    scheduler.group_ready()
    assert ids(step(scheduler)) == [1]


def test_what_ran_is_replayed_in_order_ahead_of_what_waited() -> None:
    scheduler = ready(Limits(max_running=2))
    for number in (1, 2, 3):
        submit(scheduler, number)
    step(scheduler)
    draw(scheduler, 50)
    step(scheduler)

    assert scheduler.group_lost() == ()
    scheduler.check_integrity()
    scheduler.group_ready()
    for number in (1, 2):
        replay = step(scheduler)
        assert ids(replay) == [number]
        (part,) = replay.sequences
        assert (part.position, part.tokens) == (0, (10, 11, 12, 50))
        assert part.sample is not None
        assert part.sample.index == 1
        assert replay.forget == ()
        draw(scheduler, 51)
    assert ids(step(scheduler)) == [1, 2]


def test_a_request_seen_in_two_group_deaths_is_refused_and_others_go_on() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)
    scheduler.group_lost()
    submit(scheduler, 2)
    scheduler.group_ready()
    step(scheduler)

    assert ends(scheduler.group_lost()) == [(1, FailureCode.POISONED_REQUEST)]
    scheduler.check_integrity()
    scheduler.group_ready()
    assert ids(step(scheduler)) == [2]


def test_a_request_that_kills_groups_takes_none_of_its_neighbours_along() -> None:
    scheduler = ready()
    for number in (1, 2, 3):
        submit(scheduler, number)
    assert ids(step(scheduler)) == [1, 2, 3]
    assert scheduler.group_lost() == ()
    scheduler.group_ready()

    assert ids(step(scheduler)) == [1]
    draw(scheduler)
    assert ids(step(scheduler)) == [2]
    assert ends(scheduler.group_lost()) == [(2, FailureCode.POISONED_REQUEST)]
    scheduler.check_integrity()
    scheduler.group_ready()

    assert ids(step(scheduler)) == [3]
    draw(scheduler)
    assert sorted(ids(step(scheduler))) == [1, 3]
    draw(scheduler, EOS)
    assert scheduler.idle


def test_a_death_is_not_charged_to_those_who_were_in_no_step() -> None:
    scheduler = ready(Limits(prefill_tokens=3, block_tokens=1))
    submit(scheduler, 1)
    submit(scheduler, 2)
    for _ in range(2):
        assert ids(step(scheduler)) == [1]
        lost = scheduler.group_lost()
        scheduler.group_ready()

    assert ends(lost) == [(1, FailureCode.POISONED_REQUEST)]
    assert ids(step(scheduler)) == [2]


def test_an_error_of_a_step_with_one_sequence_ends_that_sequence() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)

    events = scheduler.step_failed("step_failed", "bad token")

    assert ends(events) == [(1, "step_failed")]
    submit(scheduler, 2)
    assert step(scheduler).forget == (1,)


def test_the_culprit_of_a_failed_batch_is_found_and_the_others_go_on() -> None:
    scheduler = ready()
    for number in (1, 2, 3):
        submit(scheduler, number)
    assert ids(step(scheduler)) == [1, 2, 3]

    assert scheduler.step_failed("step_failed", "bad batch") == ()
    alone = step(scheduler)
    assert (ids(alone), alone.forget) == ([1], (1, 2, 3))
    draw(scheduler)
    assert ids(step(scheduler)) == [2]
    assert ends(scheduler.step_failed("step_failed", "bad")) == [(2, "step_failed")]
    assert ids(step(scheduler)) == [3]
    draw(scheduler)
    together = step(scheduler)
    assert [(p.sequence, p.position, p.tokens) for p in together.sequences] == [
        (1, 3, (50,)),
        (3, 3, (50,)),
    ]


def test_a_step_that_only_forgets_may_fail_and_is_repeated_with_the_next_that_feeds() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)
    draw(scheduler, EOS)
    step(scheduler)

    assert scheduler.step_failed("internal", "odd") == ()
    assert scheduler.next_step(0.0) is None
    submit(scheduler, 2)
    assert step(scheduler).forget == (1,)


def test_a_token_that_is_missing_ends_its_sequence_with_an_error() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)

    assert ends(scheduler.step_done([], 1.0)) == [(1, FailureCode.INTERNAL)]


def test_a_token_for_an_unknown_sequence_is_dropped() -> None:
    scheduler = ready()
    submit(scheduler, 1)
    step(scheduler)

    events = scheduler.step_done([SampledToken(9, 50), SampledToken(1, 51)], 1.0)

    assert [event.token for event in events if isinstance(event, Drawn)] == [51]


def test_a_step_that_is_not_open_cannot_be_closed() -> None:
    with pytest.raises(SchedulerCorrupt):
        ready().step_done([], 0.0)
