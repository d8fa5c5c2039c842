"""Where a request goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.serving.routing import choose, servable
from tests.unit.serving.doubles import model_state, neuron_state
from transports.schemas.fleet import ModelState


def idle(model: str, neuron: str) -> int:
    del model, neuron
    return 0


def test_only_ready_replicas_of_neurons_that_are_up_are_servable() -> None:
    ready = model_state("m", neuron="up")
    neurons = [
        neuron_state("up", ready, model_state("other", neuron="up")),
        neuron_state("loading", model_state("m", "starting", neuron="loading")),
        neuron_state("suspect", model_state("m", neuron="suspect"), state="suspect"),
        neuron_state("down", model_state("m", neuron="down"), state="down"),
        neuron_state("mute", ModelState("m", "ready", "mute")),
    ]

    assert servable("m", neurons) == (ready,)


def test_nowhere_to_go_is_no_error() -> None:
    assert choose((), idle) is None


def test_the_least_work_for_its_capacity_wins() -> None:
    small, big = model_state("m", neuron="a", capacity=2), model_state("m", neuron="b", capacity=8)
    outstanding = {("m", "a"): 1, ("m", "b"): 3}

    assert choose((small, big), lambda model, neuron: outstanding[model, neuron]) is big


def test_equal_replicas_are_told_apart_by_name_not_by_order() -> None:
    first, second = model_state("m", neuron="a"), model_state("m", neuron="b")

    assert choose((first, second), idle) is choose((second, first), idle) is first


def test_a_replica_that_has_not_told_its_capacity_can_be_chosen() -> None:
    unknown = model_state("m", capacity=0)

    assert choose((unknown,), idle) is unknown


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(1, 20), min_size=1))
def test_work_is_shared_in_proportion_to_capacity(capacities: dict[str, int]) -> None:
    replicas = [
        model_state("m", neuron=name, capacity=capacity) for name, capacity in capacities.items()
    ]
    load: Counter[tuple[str, str]] = Counter()
    for _ in range(sum(capacities.values())):
        chosen = choose(replicas, lambda model, neuron: load[model, neuron])
        assert chosen is not None
        load["m", chosen.neuron] += 1

    assert load == {("m", name): capacity for name, capacity in capacities.items()}
