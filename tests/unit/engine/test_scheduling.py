"""Blocks, prefixes, budgets and seats: which sequence runs when, and with what."""

from __future__ import annotations

from neuron_runtime.engine.events import Drawn, Ended, Events
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import FinishReason, Sampling, Sequence
from transports.failures import FailureCode
from transports.schemas.group import SampledToken, Step
from transports.schemas.link import Failure

SMALL = Limits(max_running=4, max_queued=16, prefill_tokens=64, step_tokens=64, block_tokens=4)
PENALISED = Sampling(repetition_penalty=1.2)
GONE = Failure(FailureCode.CANCELLED, "gone")


def ready(limits: Limits = SMALL, blocks: int = 32, context: int = 1000) -> Scheduler:
    scheduler = Scheduler(limits)
    scheduler.configure(context, [2], blocks)
    scheduler.group_ready()
    return scheduler


def submit(scheduler: Scheduler, id_: int, prompt: int = 6, **more: object) -> Sequence:
    """Submit a prompt; those of two sequences differ from the first token on."""
    tokens = (id_, *range(100, 99 + prompt))
    sequence = Sequence(id_, tokens, **more)  # type: ignore[arg-type]
    assert scheduler.submit(sequence) is None
    return sequence


def step(scheduler: Scheduler) -> Step:
    opened = scheduler.next_step(0.0)
    assert opened is not None
    scheduler.check_integrity()
    return opened


def draw(scheduler: Scheduler, token: int = 50) -> Events:
    assert scheduler.open_step is not None
    parts = scheduler.open_step.sequences
    events = scheduler.step_done([SampledToken(p.sequence, token) for p in parts if p.sample], 0.0)
    scheduler.check_integrity()
    return events


def run(scheduler: Scheduler, steps: int = 1) -> Step:
    """Run steps; return the last."""
    for _ in range(steps):
        last = step(scheduler)
        draw(scheduler)
    return last


def ids(opened: Step) -> list[int]:
    return [part.sequence for part in opened.sequences]


def test_how_long_steps_take_paces_the_prompts_beside_those_that_decode() -> None:
    scheduler = ready()
    submit(scheduler, 1, prompt=6)
    for seconds in (0.6, 0.0, 0.1):
        scheduler.next_step(0.0)
        scheduler.step_done([SampledToken(1, 50)], seconds)
    submit(scheduler, 2, prompt=60)

    assert [len(part.tokens) for part in step(scheduler).sequences] == [1, SMALL.block_tokens]


# -- blocks -------------------------------------------------------------------------------------


def test_a_table_is_begun_with_the_blocks_of_the_prompt_and_grows_by_one() -> None:
    scheduler = ready()
    submit(scheduler, 1, prompt=6)

    (first,) = run(scheduler).sequences
    assert (first.begin, len(first.blocks)) == (True, 2)
    assert [len(run(scheduler).sequences[0].blocks) for _ in range(5)] == [0, 0, 1, 0, 0]
    (later,) = run(scheduler).sequences
    assert (later.begin, later.position) == (False, 11)


def test_a_prefix_that_was_computed_is_used_again_but_for_the_last_token() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=8)
    run(scheduler)
    again = Sequence(2, first.prompt)
    longer = Sequence(3, (*first.prompt, 7, 7))
    assert scheduler.submit(again) is None
    assert scheduler.submit(longer) is None

    old, second, third = run(scheduler).sequences
    assert old.sequence == 1
    assert (second.begin, second.position, second.tokens) == (True, 4, first.prompt[4:])
    assert (third.begin, third.position, third.tokens) == (True, 8, (7, 7))
    assert third.blocks[:2] == (second.blocks[0], first.blocks[1])
    assert (first.reused, again.reused, longer.reused) == (0, 4, 8)


def test_history_comes_with_a_prefix_only_if_the_sampling_counts_it() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=9)
    run(scheduler)
    for number, sampling in ((2, Sampling()), (3, PENALISED)):
        assert scheduler.submit(Sequence(number, first.prompt, sampling)) is None

    _, second, third = step(scheduler).sequences
    assert (second.history, third.history) == ((), first.prompt[:8])


def test_output_is_reused_like_a_prompt() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=6, max_tokens=4)
    run(scheduler, 4)
    followed = Sequence(2, (*first.prompt, *first.output, 9, 9))
    assert scheduler.submit(followed) is None

    assert step(scheduler).sequences[0].position == 8


def test_blocks_of_a_failed_step_are_not_used_again() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=8)
    step(scheduler)
    scheduler.step_failed("step_failed", "no")
    assert scheduler.submit(Sequence(2, first.prompt)) is None

    assert step(scheduler).sequences[0].position == 0


def test_after_a_failure_nothing_that_was_computed_before_it_is_used_again() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=8)
    run(scheduler)
    step(scheduler)
    scheduler.step_failed("step_failed", "no")
    assert scheduler.submit(Sequence(2, first.prompt)) is None

    assert step(scheduler).sequences[0].position == 0


def test_a_new_group_knows_no_prefix() -> None:
    scheduler = ready()
    first = submit(scheduler, 1, prompt=8, max_tokens=1)
    run(scheduler)
    scheduler.group_lost()
    scheduler.group_ready()
    assert scheduler.submit(Sequence(2, first.prompt)) is None

    assert step(scheduler).sequences[0].position == 0


def test_who_profits_from_the_step_in_flight_waits_for_it() -> None:
    scheduler = ready()
    prompt = tuple(range(100, 113))
    for number in (1, 2, 3):
        assert scheduler.submit(Sequence(number, prompt)) is None

    assert ids(run(scheduler)) == [1]
    assert [(p.sequence, p.position) for p in step(scheduler).sequences] == [
        (1, 13),
        (2, 12),
        (3, 12),
    ]


def test_the_pool_limits_the_context() -> None:
    scheduler = ready(blocks=3, context=1000)

    assert scheduler.context_length == 12
    refusal = scheduler.submit(Sequence(1, (1,) * 12))
    assert refusal is not None
    assert refusal.code == FailureCode.CONTEXT_LENGTH_EXCEEDED
    submit(scheduler, 2, prompt=11)
    run(scheduler)
    assert scheduler.idle


def test_an_output_that_outgrew_a_smaller_pool_ends_with_length() -> None:
    scheduler = ready()
    submit(scheduler, 1, prompt=6)
    run(scheduler, 5)
    scheduler.group_lost()

    (event,) = scheduler.configure(1000, [2], 2)

    assert isinstance(event, Ended)
    assert event.end is FinishReason.LENGTH


def test_what_does_not_fit_waits_in_order_until_blocks_are_free() -> None:
    scheduler = ready(blocks=6)
    submit(scheduler, 1, prompt=15)
    submit(scheduler, 2, prompt=12)
    submit(scheduler, 3, prompt=2)

    assert ids(run(scheduler)) == [1]
    assert ids(step(scheduler)) == [1]
    scheduler.end(1, GONE)
    draw(scheduler)
    assert ids(step(scheduler)) == [2, 3]


def test_when_blocks_run_short_the_youngest_starts_again_where_it_was() -> None:
    scheduler = ready(blocks=6)
    first = submit(scheduler, 1, prompt=6)
    second = submit(scheduler, 2, prompt=6)
    assert ids(run(scheduler, 5)) == [1, 2]

    shown = len(second.output)
    pressed = run(scheduler, 4)
    assert ids(pressed) == [1]
    assert scheduler.waiting == 1
    assert len(second.output) > shown
    drawn = len(second.output)
    scheduler.end(first.id, GONE)
    (part,) = step(scheduler).sequences
    assert (part.sequence, part.begin) == (2, True)
    assert part.position % 4 == 0
    assert part.position + len(part.tokens) == second.length
    (event,) = draw(scheduler, 60)
    assert event == Drawn(second, drawn, 60)


def test_a_cancelled_sequence_gives_its_blocks_back_at_every_phase() -> None:
    for steps in range(4):
        scheduler = ready(Limits(4, 4, prefill_tokens=8, step_tokens=8, block_tokens=4), blocks=5)
        submit(scheduler, 1, prompt=14)
        if steps:
            run(scheduler, steps)
        scheduler.end(1, GONE)
        scheduler.check_integrity()
        submit(scheduler, 2, prompt=18)
        run(scheduler, 3)
        assert ids(step(scheduler)) == [2]


# -- prompts ------------------------------------------------------------------------------------


def test_prompts_are_computed_one_after_another() -> None:
    scheduler = ready(Limits(prefill_tokens=8, step_tokens=10, block_tokens=4))
    for number in (1, 2, 3):
        submit(scheduler, number, prompt=12)

    sizes = []
    for _ in range(4):
        sizes.append([(p.sequence, len(p.tokens)) for p in step(scheduler).sequences])
        draw(scheduler)
    assert sizes == [
        [(1, 8)],
        [(1, 4), (2, 4)],
        [(1, 1), (2, 8), (3, 1)],
        [(1, 1), (2, 1), (3, 8)],
    ]


def test_without_memory_a_step_is_repeated_with_a_smaller_prompt() -> None:
    scheduler = ready()
    submit(scheduler, 1, prompt=4)
    run(scheduler)
    submit(scheduler, 2, prompt=20)
    (one, two) = step(scheduler).sequences
    assert scheduler.step_failed(FailureCode.OUT_OF_MEMORY, "no") == ()
    scheduler.check_integrity()

    (again, smaller) = step(scheduler).sequences
    assert (again.begin, again.position, again.tokens) == (True, one.position, one.tokens)
    assert (smaller.begin, smaller.blocks, len(smaller.tokens)) == (True, two.blocks, 10)


# -- seats --------------------------------------------------------------------------------------


def test_a_key_without_a_seat_gets_one_of_those_that_have_several() -> None:
    scheduler = ready()
    for number in range(1, 6):
        submit(scheduler, number, principal="many")
    run(scheduler)
    assert ids(run(scheduler)) == [1, 2, 3, 4]
    submit(scheduler, 6, principal="one")
    submit(scheduler, 7, principal="one")

    assert ids(run(scheduler)) == [1, 2, 3, 6]
    assert ids(run(scheduler)) == [1, 2, 3, 6]
    scheduler.end(1, GONE)
    assert ids(run(scheduler)) == [2, 3, 6, 7]


def test_those_without_a_key_make_room_for_those_with_one() -> None:
    scheduler = ready()
    for number in range(1, 5):
        submit(scheduler, number)
    run(scheduler)
    for number in (5, 6):
        submit(scheduler, number, principal="key")

    assert ids(run(scheduler)) == [1, 2, 3, 5]
    run(scheduler)
    assert ids(run(scheduler)) == [1, 2, 5, 6]
    assert scheduler.waiting == 2


def test_nobody_gives_way_when_all_have_one_seat() -> None:
    scheduler = ready()
    for number, key in enumerate("abcd", start=1):
        submit(scheduler, number, principal=key)
    run(scheduler)
    submit(scheduler, 5, principal="e")

    assert ids(run(scheduler, 3)) == [1, 2, 3, 4]


# -- masks --------------------------------------------------------------------------------------


class Counting:
    """A mask that allows everything at first, then has one row per token, then forbids."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def mask(self) -> bytes | None:
        return bytes([len(self.accepted)] * 4) if self.accepted else None

    def accept(self, token: int) -> bool:
        self.accepted.append(token)
        return len(self.accepted) < 4

    failure: Failure | None = None


def test_masked_sequences_have_a_row_each_in_order() -> None:
    scheduler = ready()
    masks = [Counting(), Counting()]
    submit(scheduler, 1, mask=masks[0])
    run(scheduler)
    submit(scheduler, 2, mask=masks[1])
    submit(scheduler, 3)
    opened = run(scheduler)
    assert [p.sample.masked for p in opened.sequences if p.sample] == [True, False, False]

    opened = step(scheduler)
    assert [p.sample.masked for p in opened.sequences if p.sample] == [True, True, False]
    assert scheduler.open_masks == b"\2\2\2\2\1\1\1\1"


def test_a_mask_goes_on_after_the_groups_loss() -> None:
    scheduler = ready()
    mask = Counting()
    submit(scheduler, 1, mask=mask)
    run(scheduler, 2)
    step(scheduler)
    scheduler.group_lost()
    scheduler.group_ready()

    (part,) = step(scheduler).sequences
    assert part.sample is not None
    assert (part.sample.index, part.sample.masked) == (2, True)
    assert mask.accepted == [50, 50]
    assert scheduler.open_masks == b"\2\2\2\2"


def test_a_token_that_the_mask_forbids_ends_the_sequence_with_an_error() -> None:
    scheduler = ready()
    submit(scheduler, 1, mask=Counting())
    run(scheduler, 3)
    step(scheduler)

    (event,) = draw(scheduler)
    assert isinstance(event, Ended)
    assert isinstance(event.end, Failure)
    assert event.end.code == FailureCode.INTERNAL


def test_a_mask_that_cannot_go_on_ends_the_sequence_with_its_own_words() -> None:
    scheduler = ready()
    mask = Counting()
    mask.failure = Failure(FailureCode.INVALID_REQUEST, "too much", param="constraint")
    submit(scheduler, 1, mask=mask)
    run(scheduler, 3)
    step(scheduler)

    (event,) = draw(scheduler)
    assert isinstance(event, Ended)
    assert event.end == mask.failure


def test_the_end_of_a_constrained_output_is_not_ignored() -> None:
    scheduler = ready()
    submit(scheduler, 1, mask=Counting(), ignore_eos=True)
    submit(scheduler, 2, ignore_eos=True)
    step(scheduler)

    ended = [event for event in draw(scheduler, token=2) if isinstance(event, Ended)]
    assert [(event.sequence.id, event.end) for event in ended] == [(1, FinishReason.STOP)]
