"""Which neurons could hold a model of the catalogue, and why others could not."""

from __future__ import annotations

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry, Cost
from cortex_actors.gateway.fleet_cards import PlacementNotes, fleet_cards
from transports.schemas.fleet import DeviceState, ModelRecord, NeuronState

CATALOGUE = Catalogue(
    models=(
        CatalogueEntry(id="wide", source="file:///wide", vram_mb=1200, min_devices=2),
        CatalogueEntry(id="here", source="file:///here", pinned_on=("small",)),
        CatalogueEntry(id="free", source="file:///free", cost=Cost(input=0.0)),
    )
)
NOTES = PlacementNotes()


def neuron(name: str, *totals: int, records: tuple[ModelRecord, ...] = ()) -> NeuronState:
    devices = tuple(
        DeviceState(f"cuda:{number}", "cuda", "A GPU", total, 0)
        for number, total in enumerate(totals)
    )
    return NeuronState(name, 1, "1", "host", 1.0, devices, (), records=records)


def test_feasible_is_who_could_hold_it_whatever_fills_it_now() -> None:
    neurons = [neuron("small", 500), neuron("pair", 600, 600)]
    notes = PlacementNotes(frozenset({"here"}), {"wide": "it died three times"})
    wide, here, free = fleet_cards(CATALOGUE, {"free": 5}, neurons, notes)

    assert wide.feasible_on == ("pair",)
    assert wide.infeasible == {
        "small": "it needs 2 device(s) of at least 600 MB; there are: cuda:0 (500 MB)"
    }
    assert (wide.error, wide.pinned, wide.created) == ("it died three times", False, 0)
    assert (here.feasible_on, here.pinned) == (("small",), True)
    assert here.infeasible == {"pair": "it is pinned on small"}
    assert (free.feasible_on, free.cost, free.created) == (("pair", "small"), {"input": 0.0}, 5)


def test_of_a_neuron_that_never_answered_nobody_can_say() -> None:
    unknown = NeuronState("late", 0, "", "", 0.0, (), (), state="down")
    wide, here, free = fleet_cards(CATALOGUE, {}, [neuron("pair", 600, 600), unknown], NOTES)

    assert (wide.feasible_on, wide.infeasible) == (("pair",), {})
    assert (free.feasible_on, free.infeasible) == (("pair",), {})
    assert set(here.infeasible) == {"pair", "late"}


def test_what_was_measured_goes_before_what_was_written() -> None:
    measured = neuron("pair", 600, 600, records=(ModelRecord("wide", memory_mb=1300),))
    wide, *_ = fleet_cards(CATALOGUE, {}, [measured], PlacementNotes())

    assert wide.feasible_on == ()
