"""What an engine tells of texts that go on unseen."""

from __future__ import annotations

from pathlib import Path

from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.still_running import INTERVAL_S
from tests.unit.engine.engine_bench import EngineBench
from transports.schemas.generate import SamplingOptions, StillRunning

ENDLESS = SamplingOptions(temperature=0.0)


def let_pass(bench: EngineBench, seconds: float) -> None:
    bench.network.advance(seconds)
    bench.settle()


def begun_on_a_held_group(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True


def test_a_text_whose_ranks_are_gone_is_said_to_go_on(bench: EngineBench) -> None:
    begun_on_a_held_group(bench)
    client, _ = bench.client()
    answer = bench.ask(client, sampling=ENDLESS)
    bench.step()
    assert len(answer.deltas) == 1
    bench.group.die()
    bench.settle()
    for count in (1, 2):
        let_pass(bench, INTERVAL_S)
        assert answer.notes == [StillRunning()] * count
    assert answer.ends == []


def test_nothing_is_said_of_a_text_that_merely_comes_to_nothing(bench: EngineBench) -> None:
    begun_on_a_held_group(bench)
    client, _ = bench.client()
    answer = bench.ask(client, sampling=ENDLESS)
    bench.step()
    let_pass(bench, 2 * INTERVAL_S)
    assert answer.notes == []


def test_nothing_is_said_of_a_text_that_has_not_begun(model_dir: Path) -> None:
    bench = EngineBench(model_dir, limits=Limits(max_running=1, max_queued=1))
    client, _ = bench.client()
    answer = bench.ask(client)
    let_pass(bench, INTERVAL_S)
    assert answer.notes == []


def test_tokens_that_are_held_back_are_news(bench: EngineBench) -> None:
    text = bench.right_text(3)
    begun_on_a_held_group(bench)
    client, _ = bench.client()
    stop = (text[:1] + bench.right_text(3)[1:] + "never",)
    answer = bench.ask(client, sampling=SamplingOptions(temperature=0.0, stop=stop))
    bench.step()
    bench.step()
    assert answer.deltas == []
    let_pass(bench, INTERVAL_S)
    assert answer.notes == [StillRunning()]
    let_pass(bench, INTERVAL_S)
    assert answer.notes == [StillRunning()]
