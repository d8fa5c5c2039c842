"""What front ends are told of models."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.serving.service_state import chains, first_targets, merged_models, names
from tests.unit.serving.doubles import model_state, neuron_state

CATALOGUE = Catalogue(
    models=(
        CatalogueEntry(id="big", source="file:///big.gguf"),
        CatalogueEntry(id="small", source="file:///small.gguf"),
    ),
    aliases={"default": ("best", "small"), "best": ("big",)},
)


def test_a_model_without_a_replica_is_unloaded() -> None:
    assert [(state.id, state.state) for state in merged_models(CATALOGUE, ())] == [
        ("big", "unloaded"),
        ("small", "unloaded"),
    ]


@pytest.mark.parametrize(
    ("states", "best"),
    [
        (("failed", "ready"), "ready"),
        (("recovering", "starting"), "recovering"),
        (("preparing", "starting"), "starting"),
        (("failed", "unloading"), "unloading"),
        (("failed",), "failed"),
        (("hibernating", "failed"), "failed"),
        (("hibernating",), "hibernating"),
    ],
)
def test_a_model_is_as_well_as_its_best_replica(states: tuple[str, ...], best: str) -> None:
    neurons = [
        neuron_state(f"n{number}", model_state("small", state, f"n{number}"))
        for number, state in enumerate(states)
    ]

    for order in (neurons, neurons[::-1]):
        assert merged_models(CATALOGUE, order)[1].state == best


def test_neurons_that_are_not_up_say_nothing() -> None:
    down = neuron_state("n1", model_state("small"), state="down")

    assert merged_models(CATALOGUE, (down,))[1].state == "unloaded"


def test_models_that_only_a_neuron_knows_follow_by_name() -> None:
    neuron = neuron_state("n1", model_state("zebra"), model_state("ape"))

    assert [state.id for state in merged_models(CATALOGUE, (neuron,))] == [
        *("big", "small"),
        *("ape", "zebra"),
    ]


def test_every_name_leads_to_its_models() -> None:
    assert names(CATALOGUE) == {
        "big": ("big",),
        "small": ("small",),
        "default": ("big", "small"),
        "best": ("big",),
    }
    assert chains(CATALOGUE) == {"default": ("big", "small"), "best": ("big",)}
    assert first_targets(CATALOGUE) == {"default": "big", "best": "big"}
