"""POST /admin/plan, /admin/pin and /admin/reload."""

from __future__ import annotations

import pytest
from falcon import testing

from cortex_actors.http.app import create_gateway_app
from tests.unit.http.doubles import ScriptedBackend
from transports.schemas import operations


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def gateway(backend: ScriptedBackend) -> testing.TestClient:
    return testing.TestClient(create_gateway_app(backend))


def test_a_plan_has_every_field_those_with_defaults_too(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    victim = operations.VictimPlan("old", 600, 1.5)
    row = operations.NeuronPlan("n1", "evict", "it fits without old", victims=(victim,))
    backend.answers[operations.PlanLoad] = operations.LoadPlan("m", 800, "n1", (row,))

    found = gateway.simulate_post("/admin/plan", json={"model": "m"}).json
    assert backend.questions == [operations.PlanLoad("m")]
    assert (found["chosen"], found["memory_mb"], found["loaded_on"]) == ("n1", 800, [])
    assert found["neurons"][0] == {
        "neuron": "n1",
        "verdict": "evict",
        "why": "it fits without old",
        "load_s": 0.0,
        "warm": False,
        "busy": False,
        "victims": [{"model": "old", "memory_mb": 600, "cost_s": 1.5}],
        "devices": [],
    }


@pytest.mark.parametrize(("body", "pinned"), [({}, True), ({"pinned": False}, False)])
def test_a_model_is_pinned_unless_told_otherwise(
    backend: ScriptedBackend, gateway: testing.TestClient, body: dict[str, object], pinned: bool
) -> None:
    backend.answers[operations.PinModel] = operations.ModelPinned("m", pinned)

    result = gateway.simulate_post("/admin/pin", json={"model": "m", **body})
    assert backend.questions == [operations.PinModel("m", pinned)]
    assert result.json == {"model": "m", "pinned": pinned}


@pytest.mark.parametrize(
    ("body", "param"), [({}, "model"), ({"model": "m", "pinned": "no"}, "pinned")]
)
def test_a_bad_pin_is_refused_by_field(
    gateway: testing.TestClient, body: dict[str, object], param: str
) -> None:
    result = gateway.simulate_post("/admin/pin", json=body)
    assert (result.status_code, result.json["error"]["param"]) == (400, param)


def test_a_reload_answers_with_what_changed(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    change = operations.FieldChange("m", "vram_mb", "1", "2")
    backend.answers[operations.ReloadCatalogue] = operations.CatalogueReloaded(changed=(change,))

    assert gateway.simulate_post("/admin/reload").json == {
        "added": [],
        "removed": [],
        "changed": [{"name": "m", "field": "vram_mb", "before": "1", "after": "2"}],
        "aliases": [],
    }


def test_a_reload_of_a_bad_file_is_400_with_every_problem(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    backend.answers[operations.ReloadCatalogue] = operations.CatalogueReloaded(
        problems=("one", "two")
    )

    result = gateway.simulate_post("/admin/reload")
    assert (result.status_code, result.json["error"]["code"]) == (400, "invalid_catalogue")
    assert "one\ntwo" in result.json["error"]["message"]
