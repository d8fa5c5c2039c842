"""What a model can do, who says so, and what is refused without a load (M02)."""

from __future__ import annotations

import msgspec
import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.serving.abilities import EMBED, GENERATE, abilities, mismatch, records_of
from cortex_actors.serving.model_cards import cards
from tests.unit.serving.doubles import neuron_state
from transports.failures import FailureCode
from transports.schemas.fleet import ModelRecord, NeuronState

ENTRY = CatalogueEntry(id="m", source="file:///m.gguf", capabilities=("image",))


def neuron(source: str, *capabilities: str) -> NeuronState:
    record = ModelRecord("m", source=source, capabilities=capabilities)
    return msgspec.structs.replace(neuron_state("n1"), records=(record,))


def test_neurons_that_had_the_model_know_better_than_the_catalogue() -> None:
    fleet = [neuron(ENTRY.source, "completions", "chat"), neuron(ENTRY.source, "chat", "tools")]
    assert abilities(ENTRY, records_of(fleet)) == ("completions", "chat", "tools")
    (card,) = cards(Catalogue(models=(ENTRY,)), fleet)
    assert card.capabilities == ("completions", "chat", "tools")


def test_what_was_learned_of_another_source_or_not_at_all_leaves_the_catalogues_word() -> None:
    """E02 and E04: a neuron that cannot say has said nothing."""
    assert abilities(ENTRY, records_of([neuron("file:///other.gguf", "chat")])) == ("image",)
    assert abilities(ENTRY, records_of([neuron(ENTRY.source)])) == ("image",)
    assert abilities(ENTRY, records_of([neuron_state("n1")])) == ("image",)


def test_a_neuron_that_cannot_say_does_not_silence_one_that_can() -> None:
    """E03."""
    fleet = [neuron(ENTRY.source), neuron(ENTRY.source, "chat")]
    assert (
        abilities(ENTRY, records_of(fleet))
        == abilities(ENTRY, records_of(fleet[::-1]))
        == ("chat",)
    )


@pytest.mark.parametrize(
    ("task", "known", "said"),
    [
        (GENERATE, ("embeddings",), "use /v1/embeddings"),
        (GENERATE, ("image",), "is for image"),
        (EMBED, ("completions",), "use /v1/chat/completions"),
        (EMBED, ("chat", "tools"), "use /v1/chat/completions"),
    ],
)
def test_a_task_of_another_kind_is_refused(task: str, known: tuple[str, ...], said: str) -> None:
    failure = mismatch("m", task, known)
    assert failure is not None
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "model")
    assert said in failure.message


@pytest.mark.parametrize(
    ("task", "known"),
    [
        (GENERATE, ()),
        (GENERATE, ("chat",)),
        (GENERATE, ("image", "chat")),
        (GENERATE, ("poetry",)),
        (EMBED, ()),
        (EMBED, ("embeddings",)),
        (EMBED, ("chat", "embeddings")),
        (EMBED, ("poetry",)),
        ("", ("embeddings",)),
    ],
)
def test_what_may_be_is_tried(task: str, known: tuple[str, ...]) -> None:
    assert mismatch("m", task, known) is None
