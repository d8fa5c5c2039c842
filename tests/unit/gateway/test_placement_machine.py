"""The rules of loading over time: failures, idle models, doubt, and neurons that lie."""

from __future__ import annotations

from typing import Any

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.fleet_table import FRESH_S, LAG_S
from cortex_actors.gateway.load_failures import EARLY_S, FIRST_WAIT_S
from cortex_actors.gateway.placement_effects import (
    CancelLoad,
    Effects,
    Loaded,
    RenewWorkers,
    StartLoad,
    StartUnload,
    UnloadReason,
)
from cortex_actors.gateway.placement_machine import VERIFY_S, Phase, PlacementMachine
from tests.unit.serving.doubles import model_state, neuron_state
from transports.failures import FailureCode
from transports.schemas.fleet import ModelState, NeuronState
from transports.schemas.link import Failure

BROKEN = Failure(FailureCode.SOURCE_CORRUPT, "not a GGUF")


def entry(id_: str = "m", **more: Any) -> CatalogueEntry:
    return CatalogueEntry(id=id_, source=f"file:///{id_}.gguf", **more)


def placement(*entries: CatalogueEntry, **more: Any) -> PlacementMachine:
    machine = PlacementMachine(Catalogue(models=entries or (entry(),)), **more)
    machine.reported(neuron_state("n1"), 1, 0.0)
    return machine


def ready(model: str = "m", **more: Any) -> ModelState:
    return model_state(model, devices=("cpu:0",), **more)


def failure_of(effects: Effects) -> Failure | None:
    (loaded,) = [each for each in effects if isinstance(each, Loaded)]
    return loaded.failure


def load(machine: PlacementMachine, now: float, model: str = "m") -> None:
    machine.want(model, "w", now)
    machine.reported(neuron_state("n1", ready(model)), 1, now)
    machine.load_ended(model, 1, None, now)


# -- failures -------------------------------------------------------------------------------------


def test_after_a_failure_the_next_who_ask_are_told_at_once_until_it_is_time_to_try_again() -> None:
    machine = placement()
    machine.want("m", 1, 0.0)
    assert failure_of(machine.load_ended("m", 1, BROKEN, 0.0)) == BROKEN
    machine.reported(neuron_state("n1"), 1, 1.0)
    assert machine.failures.given_up() == {}

    refusal = failure_of(machine.want("m", 2, 1.0))
    assert refusal is not None
    assert (refusal.message, refusal.retry_after_s) == (BROKEN.message, FIRST_WAIT_S - 1.0)
    assert isinstance(machine.want("m", 3, FIRST_WAIT_S)[0], StartLoad)


def test_the_third_failure_in_a_row_is_the_last_until_an_operator_insists() -> None:
    machine, now = placement(), 0.0
    for _ in range(3):
        machine.want("m", 1, now)
        machine.load_ended("m", 1, BROKEN, now)
        machine.reported(neuron_state("n1"), 1, now)
        now += 100.0

    refusal = failure_of(machine.want("m", 2, now + 10_000.0))
    assert refusal is not None
    assert refusal.code == FailureCode.LOAD_FAILED
    assert "3 times" in refusal.message
    assert machine.failures.given_up() == {"m": BROKEN.message}
    assert isinstance(machine.want("m", 3, now, insist=True)[0], StartLoad)


def test_a_model_that_is_ready_and_at_once_dies_three_times_is_given_up() -> None:
    machine, now = placement(), 0.0
    for _ in range(3):
        load(machine, now)
        died = model_state("m", "failed", error="exit code 3")
        machine.reported(neuron_state("n1", died), 1, now + 1.0)
        machine.reported(neuron_state("n1"), 1, now + 2.0)
        now += 200.0

    assert "exit code 3" in machine.failures.given_up()["m"]


def test_a_model_that_lived_a_while_has_not_failed_to_load() -> None:
    machine, now = placement(), 0.0
    for _ in range(4):
        load(machine, now)
        machine.tick(now + EARLY_S)
        machine.reported(neuron_state("n1"), 1, now + EARLY_S + 1.0)
        now += 200.0

    assert machine.failures.given_up() == {}


def test_another_catalogue_entry_may_be_tried() -> None:
    machine = placement()
    for attempt in range(3):
        machine.failures.failed("m", BROKEN, float(attempt))
    machine.reload(Catalogue(models=(entry(quant="int8"),)), 10.0)

    assert machine.failures.given_up() == {}


def test_a_load_that_another_neuron_can_do_goes_there() -> None:
    machine = placement()
    machine.reported(neuron_state("n2", free_mb=(500,)), 2, 0.0)
    machine.want("m", 1, 0.0)
    full = Failure(FailureCode.INSUFFICIENT_DEVICES, "no room")
    assert machine.load_ended("m", 1, full, 1.0) == [StartLoad("n2", 2, entry().spec())]

    lost = machine.lost("n2", 2, 2.0)
    assert failure_of(lost) is not None
    assert machine.jobs() == {}


def test_a_neuron_that_is_shutting_down_serves_and_loads_nothing_more() -> None:
    machine = placement(entry(), entry("new"))
    machine.reported(neuron_state("n2", free_mb=(500,)), 2, 0.0)
    machine.want("new", 1, 0.0)
    machine.reported(neuron_state("n1", ready(), model_state("new", "starting")), 1, 1.0)
    closing = Failure(FailureCode.SHUTTING_DOWN, "the neuron is shutting down")
    # Its word that it drains may come later than its refusals.
    assert machine.load_ended("new", 1, closing, 1.0) == [StartLoad("n2", 2, entry("new").spec())]

    machine.reported(neuron_state("n1", ready(), state="draining"), 1, 1.1)
    assert not machine.fleet.is_servable("m")
    assert machine.want("m", 2, 1.1) == []
    loaded = machine.reported(neuron_state("n2", ready("new"), free_mb=(500,)), 2, 2.0)
    assert StartLoad("n2", 2, entry().spec()) in loaded
    assert machine.failures.given_up() == {}


def test_neurons_that_shut_down_are_no_reason_for_doubt() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    fleet_of_four(machine)
    for number in (1, 2, 3):
        machine.reported(neuron_state(f"n{number}", state="draining"), number, 10.0)

    assert machine.want("m", 1, 11.0) == [StartUnload("n4", 4, "old", UnloadReason.ROOM)]


def test_a_neuron_that_was_tried_and_goes_is_not_tried_again_for_that() -> None:
    machine = placement(entry("m", vram_mb=900), entry("old", vram_mb=900))
    machine.reported(neuron_state("n2"), 2, 0.0)
    machine.reported(neuron_state("n3", ready("old", neuron="n3"), free_mb=(100,)), 3, 0.0)
    machine.fleet.in_use("old", "n3", 1, 0.0)
    machine.want("m", 1, 0.0)
    full = Failure(FailureCode.INSUFFICIENT_DEVICES, "no room")
    machine.load_ended("m", 1, full, 1.0)
    assert machine.load_ended("m", 2, full, 1.0) == []

    assert machine.lost("n2", 2, 2.0) == []
    assert machine.jobs() == {"m": (Phase.QUEUED, "n2")}


def test_a_load_that_never_ends_is_undone() -> None:
    machine = placement()
    machine.want("m", 1, 0.0)
    machine.reported(neuron_state("n1", model_state("m", "starting")), 1, 1.0)
    late = Failure(FailureCode.DEADLINE_EXCEEDED, "too late")
    effects = machine.load_ended("m", 1, late, 600.0)

    assert StartUnload("n1", 1, "m", UnloadReason.OVERDUE) in effects
    assert failure_of(effects) == late


def test_a_load_whose_answer_is_lost_has_ended_when_the_neuron_shows_the_model_ready() -> None:
    machine = placement()
    machine.want("m", 1, 0.0)
    told = machine.reported(neuron_state("n1", ready()), 1, 1.0)

    assert told == [Loaded(1, "m", None, 1.0)]
    assert machine.jobs() == {}


def test_a_cancelled_load_that_is_wanted_again_waits_until_the_neuron_shows_it_gone() -> None:
    machine = placement(entry(vram_mb=900))
    machine.want("m", 1, 0.0)
    machine.reported(neuron_state("n1", model_state("m", "preparing")), 1, 0.5)
    assert machine.unwanted("m", 1, 1.0) == [CancelLoad("n1", 1, "m")]
    machine.want("m", 2, 1.0)

    assert machine.load_ended("m", 1, Failure(FailureCode.CANCELLED, "cancelled"), 2.0) == []
    assert machine.reported(neuron_state("n1", model_state("m", "starting")), 1, 2.1) == []
    assert machine.reported(neuron_state("n1", model_state("m", "unloading")), 1, 2.2) == []
    again = machine.reported(neuron_state("n1"), 1, 2.5)
    assert [type(each) for each in again] == [StartLoad]


def test_a_neuron_that_goes_on_listing_what_has_left_is_believed_in_the_end() -> None:
    machine = placement(entry("m", keep_loaded_s=5.0))
    machine.reported(neuron_state("n1", ready()), 1, 0.0)
    assert machine.tick(10.0) == [StartUnload("n1", 1, "m", UnloadReason.IDLE)]
    machine.unload_ended("m", 1, None, 11.0)
    machine.reported(neuron_state("n1", ready()), 1, 11.5)
    assert not machine.fleet.is_servable("m")

    machine.reported(neuron_state("n1", ready()), 1, 11.0 + LAG_S)
    assert machine.fleet.is_servable("m")


# -- eviction over time ---------------------------------------------------------------------------


def crowded(**more: Any) -> PlacementMachine:
    machine = placement(entry("m", vram_mb=900), entry("old", vram_mb=900), **more)
    machine.reported(neuron_state("n1", ready("old"), free_mb=(100,)), 1, 0.0)
    return machine


def test_a_victim_is_not_routed_to_from_the_moment_it_is_chosen_and_can_be_loaded_again() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    machine.reported(neuron_state("n1", ready("old"), free_mb=(500,)), 1, 0.0)
    assert machine.want("m", 1, 0.0) == [StartUnload("n1", 1, "old", UnloadReason.ROOM)]
    assert machine.fleet.states()[0].models[0].state == "unloading"
    assert machine.want("old", 2, 0.5) == []

    assert machine.unload_ended("old", 1, None, 1.0) == []
    machine.reported(neuron_state("n1", free_mb=(2000,)), 1, 1.5)
    assert machine.jobs()["m"][1] == "n1"
    told = machine.reported(neuron_state("n1", ready("m"), free_mb=(500,)), 1, 2.0)
    assert told == [Loaded(1, "m", None, 2.0)]
    assert machine.load_ended("m", 1, None, 2.0) == []
    assert machine.tick(2.5) == []
    assert machine.tick(2.0 + FRESH_S) == [StartUnload("n1", 1, "m", UnloadReason.ROOM)]


def test_memory_that_does_not_come_back_is_a_failure_that_says_so() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    machine.reported(neuron_state("n1", ready("old"), free_mb=(500,)), 1, 0.0)
    machine.want("m", 1, 0.0)
    machine.unload_ended("old", 1, None, 1.0)
    machine.reported(neuron_state("n1", free_mb=(600,)), 1, 2.0)
    failure = failure_of(machine.tick(1.0 + VERIFY_S))

    assert failure is not None
    assert "has not given back the memory" in failure.message
    assert failure.retry_after_s


def test_memory_is_believed_free_only_as_told_since_the_victim_left() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    never_measured = neuron_state("n1", ready("old"), free_mb=(2000,))
    machine.reported(never_measured, 1, 0.0)
    machine.want("m", 1, 0.0)

    assert machine.unload_ended("old", 1, None, 1.0) == []
    stale = neuron_state("n1", model_state("old", "unloading"), free_mb=(2000,))
    assert machine.reported(stale, 1, 1.1) == []
    assert machine.reported(neuron_state("n1", free_mb=(500,)), 1, 1.2) == []
    loads = machine.reported(neuron_state("n1", free_mb=(2000,)), 1, 2.0)
    assert [type(each) for each in loads] == [StartLoad]


def test_a_victim_that_recovers_meanwhile_is_not_on_its_way() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    machine.reported(neuron_state("n1", ready("old"), free_mb=(500,)), 1, 0.0)
    machine.want("m", 1, 0.0)
    machine.reported(neuron_state("n1", model_state("old", "recovering")), 1, 0.5)

    assert machine.want("old", 2, 1.0) == []


def test_a_busy_model_is_waited_for() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    machine.reported(neuron_state("n1", ready("old"), free_mb=(500,)), 1, 0.0)
    machine.fleet.in_use("old", "n1", 1, 0.0)
    assert machine.want("m", 1, 0.0) == []

    machine.fleet.in_use("old", "n1", 0, 5.0)
    assert machine.idle(5.0) == [StartUnload("n1", 1, "old", UnloadReason.ROOM)]


def test_what_nobody_waits_for_is_cancelled_unless_the_catalogue_keeps_it() -> None:
    machine = placement(entry(), entry("kept", keep_load=True))
    assert machine.unwanted("m", 1, 0.0) == []
    machine.want("m", 1, 0.0)
    assert machine.unwanted("m", 3, 0.5) == []
    machine.want("m", 2, 0.0)
    assert machine.unwanted("m", 1, 1.0) == []
    assert machine.unwanted("m", 2, 1.0) == [CancelLoad("n1", 1, "m")]
    machine.load_ended("m", 1, Failure(FailureCode.CANCELLED, "cancelled"), 2.0)
    machine.reported(neuron_state("n1"), 1, 2.0)
    assert isinstance(machine.want("m", 3, 3.0)[0], StartLoad)

    machine.reported(neuron_state("n2", free_mb=(1500,)), 2, 3.0)
    machine.want("kept", 4, 3.0)
    assert machine.unwanted("kept", 4, 4.0) == []


# -- upkeep ---------------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_when_its_time_is_over() -> None:
    machine = placement(entry(keep_loaded_s=60.0))
    machine.reported(neuron_state("n1", ready()), 1, 0.0)
    machine.fleet.in_use("m", "n1", 1, 10.0)
    assert machine.tick(100.0) == []
    machine.fleet.in_use("m", "n1", 0, 100.0)
    assert machine.tick(159.0) == []
    machine.pins.add("m")
    assert machine.tick(160.0) == []
    machine.pins.clear()
    assert machine.tick(160.0) == [StartUnload("n1", 1, "m", UnloadReason.IDLE)]


def test_processes_are_renewed_once_after_so_many_cycles_and_when_idle() -> None:
    machine = placement(defrag_after_cycles=3)
    worn = NeuronState("n1", 1, "0", "host", 1.0, (), (ready(running=1),), cycles=3)
    machine.reported(worn, 1, 0.0)
    assert machine.tick(1.0) == []
    machine.reported(NeuronState("n1", 1, "0", "host", 1.0, (), (), cycles=3), 1, 2.0)
    assert machine.tick(2.0) == [RenewWorkers("n1", 1)]
    assert machine.tick(3.0) == []


# -- doubt and lies -------------------------------------------------------------------------------


def fleet_of_four(machine: PlacementMachine) -> None:
    for number in range(1, 5):
        held = ready("old", neuron=f"n{number}")
        machine.reported(neuron_state(f"n{number}", held, free_mb=(500,)), number, 0.0)


def test_when_most_neurons_go_at_once_nothing_is_evicted_and_their_models_stay_known() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    fleet_of_four(machine)
    for number in (1, 2, 3):
        machine.lost(f"n{number}", number, 10.0)
    assert [len(state.models) for state in machine.fleet.states()] == [1, 1, 1, 1]
    assert machine.want("m", 1, 11.0) == []

    machine.tick(60.0)
    assert [len(state.models) for state in machine.fleet.states()] == [0, 0, 0, 1]
    assert machine.jobs()["m"][1] == "n4"


def test_neurons_that_go_one_by_one_are_believed_to_be_gone() -> None:
    machine = placement(entry("m", vram_mb=1500), entry("old", vram_mb=1500))
    fleet_of_four(machine)
    for number in (1, 2, 3):
        machine.lost(f"n{number}", number, 100.0 * number)
    assert machine.want("m", 1, 301.0) == [StartUnload("n4", 4, "old", UnloadReason.ROOM)]


def test_a_lying_neuron_changes_nothing_for_others() -> None:
    machine = placement()
    lies = (
        ready("never-asked-for", memory_mb=-7, running=-3),
        model_state("m", "shining"),
        ready("never-asked-for"),
    )
    machine.reported(neuron_state("liar", *lies, free_mb=(-1, 10**12)), 9, 0.0)
    assert machine.want("m", 1, 0.0)[0] == StartLoad("liar", 9, entry().spec())
    lost = Failure(FailureCode.LINK_LOST, "lost")
    assert machine.load_ended("m", 9, lost, 1.0) == [StartLoad("n1", 1, entry().spec())]


def test_news_are_news_until_somebody_has_passed_them_on() -> None:
    machine = placement()
    for state in (neuron_state("n1", ready()), neuron_state("n1", ready())):
        machine.reported(state, 1, 1.0)
        assert machine.news
    machine.news = False
    machine.reported(neuron_state("n1", ready()), 1, 2.0)
    assert not machine.news
