"""GET /v1/models: catalogue, residents, loads and aliases in one list (A02, E01, M01, M02, N03)."""

from __future__ import annotations

from typing import Any

import msgspec

from cortex_actors.http import service_view
from cortex_actors.http.answers import Model
from cortex_actors.http.fleet_answers import SleepingModel
from transports.schemas.fleet import ModelCard, ModelRecord, ModelState, NeuronState, ServiceState

CARDS = (
    ModelCard(
        "cold",
        created=7,
        cost={"input": 0.0, "output": 2.0},
        limit={"context": 4096, "output": 512},
        capabilities=("image",),
        feasible_on=("n2",),
        infeasible={"n1": "it needs 2 device(s)"},
    ),
    ModelCard("hot", created=8, limit={"context": 99_999}, pinned=True),
    ModelCard("broken", error="it failed 3 times"),
)


def neuron(name: str, *models: ModelState, state: str = "up") -> NeuronState:
    return NeuronState(name, 1, "1", "host", 1.0, (), models, state=state)


def listed(*neurons: NeuronState, **chains: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    state = ServiceState(
        "gateway", "1", True, "", 1.0, neurons=neurons, cards=CARDS, chains=dict(chains)
    )
    models = service_view.models(state)
    msgspec.json.decode(msgspec.json.encode(models), type=list[Model])  # as it is documented
    return {model.id: msgspec.to_builtins(model) for model in models}


HOT = (
    neuron(
        "n2", ModelState("hot", "ready", "n2", context_length=2048, capabilities=("chat", "tools"))
    ),
    neuron(
        "n1", ModelState("hot", "ready", "n1", context_length=1024, capabilities=("chat", "vision"))
    ),
)


def test_a_cold_model_shows_what_the_catalogue_says() -> None:
    cold = listed(*HOT)["cold"]
    assert (cold["status"], cold["loaded"], cold["created"]) == ("unloaded", False, 7)
    assert cold["capabilities"] == ["image"]
    assert cold["cost"] == {"input": 0.0, "output": 2.0}
    assert (cold["feasible_on"], cold["infeasible"]) == (["n2"], {"n1": "it needs 2 device(s)"})
    assert (cold["max_model_len"], cold["max_output_tokens"]) == (4096, 512)
    assert "max_input_tokens" not in cold


def test_a_model_without_a_price_shows_none() -> None:
    assert "cost" not in listed(*HOT)["hot"]


def test_replicas_are_merged_and_the_tightest_limit_that_neurons_report_counts() -> None:
    hot = listed(*HOT)["hot"]
    assert [replica["neuron"] for replica in hot["replicas"]] == ["n1", "n2"]
    assert hot["capabilities"] == ["chat", "vision", "tools"]
    assert hot["limit"] == {"context": 1024}
    assert (hot["created"], hot["pinned"], hot["loaded"]) == (8, True, True)


def test_the_order_is_the_catalogues_then_strangers_then_aliases() -> None:
    stranger = neuron("n3", ModelState("zebra", "ready", "n3"), ModelState("ape", "ready", "n3"))
    first = list(listed(*HOT, stranger, small=("hot",)))
    assert first == ["cold", "hot", "broken", "ape", "zebra", "small"]
    assert list(listed(stranger, *HOT[::-1], small=("hot",))) == first


def test_a_loading_model_shows_its_progress_and_eta() -> None:
    loading = ModelState("cold", "starting", "n2", progress=0.4, eta_s=12.34)
    cold = listed(neuron("n2", loading))["cold"]
    assert (cold["status"], cold["progress"], cold["eta_s"]) == ("starting", 0.4, 12.3)
    assert cold["replicas"][0]["eta_s"] == 12.3


def test_a_neuron_that_is_down_holds_nothing() -> None:
    gone = neuron("n1", ModelState("hot", "ready", "n1"), state="down")
    assert listed(gone)["hot"]["status"] == "unloaded"


def test_a_model_that_was_given_up_says_why_until_it_is_loaded() -> None:
    broken = listed()["broken"]
    assert (broken["status"], broken["error"]) == ("failed", "it failed 3 times")
    loaded = listed(neuron("n1", ModelState("broken", "ready", "n1")))["broken"]
    assert loaded["status"] == "ready"
    assert "error" not in loaded


def test_an_alias_names_its_chain_and_shows_the_first_that_is_ready() -> None:
    small = listed(*HOT, small=("cold", "hot"))["small"]
    assert (small["alias_of"], small["chain"]) == ("hot", ["cold", "hot"])
    assert (small["status"], small["created"], small["loaded"]) == ("ready", 8, True)

    nothing_ready = listed(small=("cold", "hot"))["small"]
    assert (nothing_ready["alias_of"], nothing_ready["status"]) == ("cold", "unloaded")


def test_an_alias_to_nothing_is_not_listed() -> None:
    assert "lost" not in listed(lost=("nowhere",))


def test_a_model_that_waits_for_its_turn_to_be_loaded_is_listed_wherever_it_does() -> None:
    """N06: also one that only the neuron knows of, and before anything is loaded."""
    one, two = (
        msgspec.structs.replace(neuron(name), pending=("cold", "stranger")) for name in ("n1", "n2")
    )
    gone = msgspec.structs.replace(neuron("n0", state="down"), pending=("cold",))
    models = listed(two, one, gone)
    assert models["cold"]["pending_on"] == models["stranger"]["pending_on"] == ["n1", "n2"]
    assert models["stranger"]["status"] == "unloaded"
    assert "pending_on" not in models["hot"]
    assert service_view.neuron(one).pending == ["cold", "stranger"]


def test_a_model_shows_where_it_is_warm_and_a_neuron_what_sleeps_there() -> None:
    asleep = ModelRecord("cold", 9.0, 0.5123, 400, warm=True, weights_mb=300)
    awake = ModelRecord("hot", 9.0, 0.5)
    there = [
        msgspec.structs.replace(each, records=(asleep, awake), warm_mb=500, warm_used_mb=300)
        for each in (*HOT, neuron("n0", state="down"))
    ]
    models = listed(*there)
    assert models["cold"]["warm_on"] == ["n1", "n2"]
    assert models["cold"]["status"] == "unloaded"
    assert "warm_on" not in models["hot"]

    view = service_view.neuron(there[0])
    assert view.warm == [SleepingModel("cold", memory_mb=300, wake_s=0.512)]
    assert (view.warm_mb, view.warm_used_mb) == (500, 300)
