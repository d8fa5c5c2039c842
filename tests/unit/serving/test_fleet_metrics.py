from __future__ import annotations

from prometheus_client import CollectorRegistry

from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.serving.fleet_metrics import FleetMetrics
from tests.unit.serving.doubles import model_state, neuron_state
from transports.schemas.fleet import NeuronState


def test_the_latest_state_is_told_and_what_is_gone_is_not() -> None:
    fleet: list[NeuronState] = [
        neuron_state("a", model_state("m", running=3, memory_mb=2, restarts=5), free_mb=(500,)),
        neuron_state("b", state="down"),
    ]
    registry = CollectorRegistry()
    FleetMetrics(lambda: fleet, "cortex").register(registry)
    model = {"gen_ai_request_model": "m", "neuron": "a"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"cortex_{name}", labels)

    assert [value("neurons", state=state) for state in ("up", "suspect", "down")] == [1, 0, 1]
    assert value("device_memory_free_bytes", neuron="a", device="cpu:0") == 500 * 2**20
    assert value("device_memory_total_bytes", neuron="a", device="cpu:0") == 2000 * 2**20
    assert value("model_state", **model, state="ready") == 1
    assert value("model_running", **model) == 3
    assert value("model_restarts_total", **model) == 5
    assert value("model_memory_bytes", **model) == 2 * 2**20

    fleet[:] = [neuron_state("b")]
    assert value("model_running", **model) is None
    assert value("device_memory_free_bytes", neuron="a", device="cpu:0") is None
    assert value("neurons", state="up") == 1


def test_loads_and_unloads_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = PlacementMetrics(registry)
    metrics.loaded("m", "ready", 3.0)
    metrics.unloads("m", "a", "room")
    metrics.unloads("m", "a", "idle")

    labels = {"gen_ai_request_model": "m", "outcome": "ready"}
    assert registry.get_sample_value("cortex_model_load_seconds_sum", labels) == 3.0
    gone = {"gen_ai_request_model": "m", "neuron": "a", "reason": "room"}
    assert registry.get_sample_value("cortex_model_unloads_total", gone) == 1.0
