"""Which neuron loads a model."""

from __future__ import annotations

import pytest

from cortex_actors.gateway.placement_policy import place
from tests.unit.serving.doubles import neuron_state
from transports.failures import FailureCode
from transports.schemas.fleet import ModelSpec
from transports.schemas.link import Failure

ONE = ModelSpec("m", "file:///m.gguf")
THREE = ModelSpec("m", "file:///m.gguf", min_devices=3)


def test_the_most_free_memory_wins() -> None:
    neurons = [neuron_state("a", free_mb=(500, 400)), neuron_state("b", free_mb=(1000,))]

    assert place(ONE, neurons) == place(ONE, neurons[::-1]) == "b"


def test_equal_neurons_are_told_apart_by_name() -> None:
    neurons = [neuron_state("b"), neuron_state("a")]

    assert place(ONE, neurons) == place(ONE, neurons[::-1]) == "a"


def test_a_neuron_with_too_few_devices_is_no_candidate() -> None:
    neurons = [neuron_state("roomy", free_mb=(9000, 9000)), neuron_state("wide", free_mb=(1, 1, 1))]

    assert place(THREE, neurons) == "wide"


def test_too_few_devices_everywhere_names_what_there_is() -> None:
    failure = place(THREE, [neuron_state("a", free_mb=(1, 1))])

    assert isinstance(failure, Failure)
    assert failure.code == FailureCode.INSUFFICIENT_DEVICES
    assert failure.message == "model 'm' needs 3 devices; no neuron has more than 2"


@pytest.mark.parametrize("state", ["down", "suspect"])
def test_only_neurons_that_are_up_count(state: str) -> None:
    failure = place(ONE, [neuron_state("a", state=state)])

    assert isinstance(failure, Failure)
    assert failure.code == FailureCode.MODEL_UNAVAILABLE
    assert failure.retry_after_s
