from __future__ import annotations

from typing import Any

import pytest
from falcon import testing

from cortex_actors.http.app import create_gateway_app, create_metrics_app, create_neuron_app
from tests.unit.http.doubles import MODEL, ScriptedBackend, service_state
from transports.schemas import fleet
from transports.schemas.group import FaultArmed, InjectFault
from transports.schemas.link import Failure


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def gateway(backend: ScriptedBackend) -> testing.TestClient:
    return testing.TestClient(create_gateway_app(backend))


@pytest.fixture
def neuron(backend: ScriptedBackend) -> testing.TestClient:
    return testing.TestClient(create_neuron_app(backend))


def test_models_are_listed_with_their_status_and_aliases(gateway: testing.TestClient) -> None:
    listed = gateway.simulate_get("/v1/models").json
    assert listed["object"] == "list"
    by_id = {model["id"]: model for model in listed["data"]}
    assert list(by_id) == [MODEL, "org/cold", "small"]
    assert by_id[MODEL]["object"] == "model"
    assert by_id[MODEL]["created"] == 7
    assert by_id[MODEL]["status"] == "ready"
    assert by_id[MODEL]["replicas"][0]["neuron"] == "local"
    assert by_id["org/cold"]["error"] == "the file is gone"
    assert by_id["small"]["alias_of"] == MODEL


def test_the_best_of_a_models_replicas_is_its_status(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    replicas = [fleet.ModelState("m", state, neuron=state) for state in ("failed", "ready", "new")]
    backend.service = fleet.ServiceState("gateway", "1", True, "", 1.0, models=tuple(replicas))
    (model,) = gateway.simulate_get("/v1/models").json["data"]
    assert model["status"] == "ready"
    assert len(model["replicas"]) == 3


@pytest.mark.parametrize("model", [MODEL, "org/cold", "small"])
def test_one_model_can_be_asked_for(gateway: testing.TestClient, model: str) -> None:
    assert gateway.simulate_get(f"/v1/models/{model}").json["id"] == model


def test_an_unknown_model_is_404(gateway: testing.TestClient) -> None:
    result = gateway.simulate_get("/v1/models/nope")
    assert result.status_code == 404
    assert result.json["error"]["code"] == "model_not_found"


VERSION = {"anthropic-version": "2023-06-01"}


def test_models_are_in_anthropics_shape_for_clients_that_name_its_version(
    gateway: testing.TestClient,
) -> None:
    page = gateway.simulate_get("/v1/models?limit=20", headers=VERSION).json
    tiny = {
        "type": "model",
        "id": MODEL,
        "display_name": MODEL,
        "created_at": "1970-01-01T00:00:07Z",
        "lifecycle": "active",
        "max_input_tokens": 2048,
        "max_tokens": None,
    }
    assert page["data"][0] == tiny
    assert [model["id"] for model in page["data"]] == [MODEL, "org/cold", "small"]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (MODEL, "small", False)
    assert gateway.simulate_get(f"/v1/models/{MODEL}", headers=VERSION).json == tiny
    refused = gateway.simulate_get("/v1/models/nope", headers=VERSION)
    assert refused.status_code == 404
    assert refused.json["error"]["type"] == "not_found_error"


def test_models_for_anthropics_clients_come_in_pages(gateway: testing.TestClient) -> None:
    def page(query: str) -> Any:
        answer = gateway.simulate_get("/v1/models", headers=VERSION, query_string=query).json
        return [model["id"] for model in answer["data"]], answer["has_more"]

    assert page("limit=2") == ([MODEL, "org/cold"], True)
    assert page("limit=2&after_id=org/cold") == (["small"], False)
    assert page("limit=1&before_id=small") == (["org/cold"], True)
    assert page(f"before_id={MODEL}") == ([], False)
    assert page("after_id=small") == ([], False)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after_id=nope", f"after_id={MODEL}&before_id=small"],
)
def test_a_page_of_models_that_cannot_be_is_refused(
    gateway: testing.TestClient, query: str
) -> None:
    refused = gateway.simulate_get("/v1/models", headers=VERSION, query_string=query)
    assert refused.status_code == 400
    assert refused.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("anthropic", [True, False])
def test_an_unknown_route_answers_in_the_callers_envelope(
    gateway: testing.TestClient, anthropic: bool
) -> None:
    refused = gateway.simulate_get("/v1/files", headers=VERSION if anthropic else {})
    assert refused.status_code == 404
    assert ("type" in refused.json) == anthropic


def test_no_models_are_an_empty_page(backend: ScriptedBackend, gateway: testing.TestClient) -> None:
    backend.service = fleet.ServiceState("gateway", "1", True, "", 1.0)
    page = gateway.simulate_get("/v1/models", headers=VERSION).json
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_reads_before_the_first_state_say_that_the_service_is_starting(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    backend.service = None
    result = gateway.simulate_get("/v1/models")
    assert result.status_code == 503
    assert result.headers["retry-after"] == "1"
    assert gateway.simulate_get("/health").status_code == 200
    assert gateway.simulate_get("/version").json["daemon_version"] is None
    assert gateway.simulate_get("/ready").status_code == 503


def test_readiness_is_the_daemons_word_and_needs_its_link(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    assert gateway.simulate_get("/ready").json == {"ready": True, "reason": ""}
    backend.service = service_state(ready=False, reason="no neuron is up")
    result = gateway.simulate_get("/ready")
    assert (result.status_code, result.json["reason"]) == (503, "no neuron is up")
    backend.service = service_state()
    backend.connected = False
    assert gateway.simulate_get("/ready").status_code == 503
    assert gateway.simulate_get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/tiny", 405, "method_not_allowed"),
        ("GET", "/metrics", 404, "unknown_url"),
    ],
)
def test_unknown_urls_and_methods_get_the_envelope(
    gateway: testing.TestClient, method: str, path: str, status: int, code: str
) -> None:
    result = gateway.simulate_request(method, path)
    assert result.status_code == status
    assert result.json["error"]["code"] == code
    assert result.json["error"]["request_id"] == result.headers["x-request-id"]
    if status == 405:
        assert result.headers["allow"]


@pytest.mark.parametrize(("path", "told"), [("/models", True), ("/v1/nope", False)])
def test_who_asks_beside_the_api_is_told_where_it_is(
    gateway: testing.TestClient, path: str, *, told: bool
) -> None:
    message = gateway.simulate_get(path).json["error"]["message"]
    assert ("under /v1" in message) is told


@pytest.mark.parametrize("path", ["/admin/load", "/models/load"])
def test_a_model_is_loaded_on_command(
    backend: ScriptedBackend,
    gateway: testing.TestClient,
    neuron: testing.TestClient,
    path: str,
) -> None:
    backend.answers[fleet.LoadModelById] = fleet.ModelLoaded(MODEL, 1.5)
    daemon = gateway if path.startswith("/admin") else neuron
    result = daemon.simulate_post(path, json={"model": MODEL})
    assert result.json == {"status": "loaded", "model": MODEL, "load_s": 1.5}
    assert backend.questions == [fleet.LoadModelById(MODEL)]


@pytest.mark.parametrize("path", ["/admin/unload", "/models/unload"])
def test_a_model_is_unloaded_on_command(
    backend: ScriptedBackend,
    gateway: testing.TestClient,
    neuron: testing.TestClient,
    path: str,
) -> None:
    backend.answers[fleet.UnloadModel] = fleet.ModelUnloaded(MODEL)
    daemon = gateway if path.startswith("/admin") else neuron
    assert daemon.simulate_post(path, json={"model": MODEL}).json["status"] == "unloaded"


def test_a_failed_load_has_its_status_and_reason(
    backend: ScriptedBackend, neuron: testing.TestClient
) -> None:
    backend.answers[fleet.LoadModelById] = Failure("no_disk_space", "the cache is full")
    result = neuron.simulate_post("/models/load", json={"model": MODEL})
    assert result.status_code == 507
    assert result.json["error"]["message"] == "the cache is full"


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": 3}])
def test_a_command_without_a_model_is_refused(neuron: testing.TestClient, body: object) -> None:
    result = neuron.simulate_post("/models/load", json=body)
    assert (result.status_code, result.json["error"]["param"]) == (400, "model")


def test_a_fault_is_passed_on_in_the_operators_words(
    backend: ScriptedBackend, neuron: testing.TestClient
) -> None:
    backend.answers[InjectFault] = FaultArmed(MODEL, 1)
    order = {"fault": "slow-step", "phase": "inside", "rank": 1, "model": MODEL, "seconds": 0.5}
    result = neuron.simulate_post("/chaos", json=order)
    assert result.json == {"status": "armed", "model": MODEL, "rank": 1}
    assert backend.questions == [InjectFault("slow-step", "inside", 1, MODEL, seconds=0.5)]


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ({"fault": "explode", "phase": "idle"}, "there are: kill-rank"),
        ({"fault": "oom", "phase": "lunch"}, "there are: starting"),
        ({"fault": "oom", "phase": "idle", "rank": "first"}, "Expected `int`"),
        ({"fault": "oom"}, "missing required field `phase`"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    order: dict[str, object], complaint: str, backend: ScriptedBackend, neuron: testing.TestClient
) -> None:
    result = neuron.simulate_post("/chaos", json=order)
    assert result.status_code == 400
    assert complaint in result.json["error"]["message"]
    assert backend.questions == []


def test_a_daemon_where_faults_are_off_says_so(
    backend: ScriptedBackend, neuron: testing.TestClient
) -> None:
    off = "faults are off here; set neuron.chaos: true"
    backend.answers[InjectFault] = Failure("invalid_request", off)
    result = neuron.simulate_post("/chaos", json={"fault": "oom", "phase": "idle", "model": MODEL})
    assert (result.status_code, result.json["error"]["message"]) == (400, off)


def test_only_neurons_take_faults(gateway: testing.TestClient) -> None:
    order = {"fault": "oom", "phase": "idle", "model": MODEL}
    assert gateway.simulate_post("/chaos", json=order).status_code == 404


def test_metrics_are_passed_on(backend: ScriptedBackend, neuron: testing.TestClient) -> None:
    backend.answers[fleet.QueryMetrics] = fleet.MetricsText("a 1\n", "text/plain; version=0.0.4")
    for daemon in (neuron, testing.TestClient(create_metrics_app(backend))):
        result = daemon.simulate_get("/metrics")
        assert result.text == "a 1\n"
        assert result.headers["content-type"] == "text/plain; version=0.0.4"


def test_the_actor_table(backend: ScriptedBackend, gateway: testing.TestClient) -> None:
    row = fleet.ActorRow("router", "Router", "running", 0, 0, 5)
    backend.answers[fleet.QueryActors] = fleet.ActorTable((row,))
    (actor,) = gateway.simulate_get("/debug/actors").json["actors"]
    assert (actor["name"], actor["handled"]) == ("router", 5)
    (actor,) = gateway.simulate_get("/debug/actors?neuron=local").json["actors"]
    assert backend.questions == [fleet.QueryActors(), fleet.QueryActors("local")]


def test_an_answer_of_the_wrong_kind_is_an_internal_error(
    backend: ScriptedBackend, gateway: testing.TestClient
) -> None:
    backend.answers[fleet.QueryActors] = fleet.QueryActors()
    assert gateway.simulate_get("/debug/actors").status_code == 500


def test_a_neuron_describes_itself(neuron: testing.TestClient) -> None:
    discovery = neuron.simulate_get("/discovery").json
    assert discovery["hostname"] == "host"
    assert discovery["devices"][0]["memory_free_mb"] == 500
    models = neuron.simulate_get("/models").json["models"]
    assert [model["status"] for model in models] == ["ready", "failed"]


def test_a_neuron_whose_daemon_has_not_told_of_it_yet_is_starting(
    backend: ScriptedBackend, neuron: testing.TestClient
) -> None:
    backend.service = fleet.ServiceState("neuron", "1", False, "starting", 1.0)
    refused = neuron.simulate_get("/discovery")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


def test_the_gateway_shows_its_fleet(gateway: testing.TestClient) -> None:
    status = gateway.simulate_get("/admin/status").json
    assert status["neurons"][0]["name"] == "local"
    assert status["ready"] is True


def test_the_root_says_what_this_is_and_leads_on(gateway: testing.TestClient) -> None:
    root = gateway.simulate_get("/").json
    assert (root["name"], root["service"]) == ("cortex", "gateway")
    assert [gateway.simulate_get(link).status_code for link in root["links"].values()] == [200] * 4
    head = gateway.simulate_head("/")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize("ready", [True, False])
def test_a_monitor_may_ask_without_the_body(
    backend: ScriptedBackend, gateway: testing.TestClient, path: str, ready: bool
) -> None:
    backend.service = service_state(ready=ready, reason="" if ready else "no neuron is up")
    head, get = gateway.simulate_head(path), gateway.simulate_get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
