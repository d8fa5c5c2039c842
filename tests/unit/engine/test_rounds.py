"""The ranks go on by themselves while nobody waits; who comes or leaves ends their rounds."""

from __future__ import annotations

from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Sequence
from tests.unit.engine.engine_bench import Answer, EngineBench
from transports.schemas.generate import SamplingOptions
from transports.schemas.group import EndRounds, SampledToken, StepDone

ENDLESS = SamplingOptions(temperature=0.0, max_tokens=1000)


def decoding(bench: EngineBench, count: int = 1) -> list[Answer]:
    """Requests whose prompts are done: the held step is one of several rounds."""
    bench.hold = True
    bench.start_group()
    client, _ = bench.client()
    answers = [bench.ask(client, text, ENDLESS) for text in "abc"[:count]]
    while not bench.group.steps or bench.group.steps[-1].rounds == 1:
        bench.step()
    return answers


def test_text_comes_with_each_round_and_one_step_is_sent_for_all(bench: EngineBench) -> None:
    (answer,) = decoding(bench)
    rounds, sent = bench.group.steps[-1].rounds, len(bench.group.steps)
    assert rounds > 2

    for _ in range(rounds - 1):
        told = len(answer.deltas)
        bench.step()
        assert len(answer.deltas) == told + 1
        assert len(bench.group.steps) == sent
    bench.step()

    assert len(bench.group.steps) == sent + 1
    assert answer.text == bench.right_text(len(answer.deltas), "a")
    assert not bench.group.told


def test_a_round_that_nobody_asked_for_gives_no_text(bench: EngineBench) -> None:
    bench.hold = True
    group = bench.start_group()
    client, _ = bench.client()
    answer = bench.ask(client, "a", SamplingOptions(temperature=0.0, max_tokens=1))
    (step,) = group.steps
    assert step.rounds == 1
    assert group.on_progress is not None
    group.on_progress(StepDone(step.step, 0, (SampledToken(step.sequences[0].sequence, 9),)))
    assert answer.deltas == []
    bench.step()
    group.on_progress(StepDone(step.step, 0))

    assert answer.text == bench.right_text(1, "a")


def test_a_newcomer_ends_the_rounds_once_and_joins(bench: EngineBench) -> None:
    (answer,) = decoding(bench)
    step = bench.group.steps[-1]
    client, _ = bench.client()
    newcomer = bench.ask(client, "b", SamplingOptions(temperature=0.0, max_tokens=2))
    bench.ask(client, "c", SamplingOptions(temperature=0.0, max_tokens=2))

    assert bench.group.told == [EndRounds(step.step)]
    bench.step()
    assert {part.sequence for part in bench.group.steps[-1].sequences} == {1, 2, 3}
    while not newcomer.ends:
        bench.step()

    assert newcomer.text == bench.right_text(2, "b")
    assert answer.text == bench.right_text(len(answer.deltas), "a")


def test_one_that_leaves_ends_the_rounds_of_the_others(bench: EngineBench) -> None:
    first, second = decoding(bench, 2)
    step = bench.group.steps[-1]
    assert first.call is not None
    first.call.cancel()
    bench.settle()

    assert bench.group.told == [EndRounds(step.step)]
    told = len(first.deltas)
    bench.step()
    assert len(first.deltas) == told
    assert bench.group.steps[-1].forget == (1,)
    assert {part.sequence for part in bench.group.steps[-1].sequences} == {2}
    assert second.text == bench.right_text(len(second.deltas), "b")


def test_no_round_goes_past_what_a_request_may_draw(bench: EngineBench) -> None:
    group = bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, "a", SamplingOptions(temperature=0.0, max_tokens=4))

    assert [step.rounds for step in group.steps if step.sequences] == [1, 3]
    assert answer.text == bench.right_text(4, "a")
    assert answer.done.finish_reason == "length"


def test_ranks_that_share_a_model_wait_for_each_step() -> None:
    scheduler = Scheduler(Limits())
    scheduler.configure(100, [], alone=False)
    scheduler.group_ready()
    assert scheduler.submit(Sequence(1, (4, 5), max_tokens=9)) is None

    rounds = []
    while (step := scheduler.next_step(0.0)) is not None and step.sequences:
        rounds.append(step.rounds)
        scheduler.step_done([SampledToken(1, 7)], 0.0)
    assert rounds == [1] * 9


def test_a_group_that_dies_between_rounds_is_replaced_and_nothing_is_told_twice(
    bench: EngineBench,
) -> None:
    (answer,) = decoding(bench)
    bench.step()
    told = len(answer.deltas)
    bench.group.die()
    bench.settle()
    bench.start_group()
    bench.step()

    assert len(answer.deltas) == told + 1
    assert answer.text == bench.right_text(told + 1, "a")
    assert [delta.index for delta in answer.deltas] == list(range(told + 1))
