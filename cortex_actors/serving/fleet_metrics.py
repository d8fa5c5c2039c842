"""Prometheus figures of neurons, devices and models, read from the latest state when scraped.

Series of what is gone disappear with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from cortex_actors.serving.routing import DRAINING, UP
from transports.schemas.fleet import NeuronState

_MIB = 1024 * 1024


@final
class FleetMetrics:
    """A collector. ``fleet`` may be called from any thread."""

    def __init__(self, fleet: Callable[[], Iterable[NeuronState]], prefix: str) -> None:
        self._fleet = fleet
        self._prefix = prefix

    def register(self, metrics: CollectorRegistry) -> None:
        """Be scraped with everything else in ``metrics``."""
        metrics.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures. Any thread."""
        fleet = tuple(self._fleet())
        states = Counter(neuron.state for neuron in fleet)
        neurons = self._gauge("neurons", "Neurons by state.", "state")
        for state in (UP, "suspect", "down", DRAINING):
            neurons.add_metric((state,), states.pop(state, 0))
        for state, count in states.items():
            neurons.add_metric((state,), count)
        yield neurons
        age = self._gauge("neuron_age_seconds", "Since the neuron last spoke.", "neuron")
        for neuron in fleet:
            age.add_metric((neuron.name,), neuron.age_s)
        yield age
        yield from self._devices(fleet)
        yield from self._models(fleet)
        yield from self._warm_tier(fleet)

    def _devices(self, fleet: tuple[NeuronState, ...]) -> Iterator[Metric]:
        total = self._gauge(
            "device_memory_total_bytes", "Memory that a device offers.", "neuron", "device"
        )
        free = self._gauge("device_memory_free_bytes", "What of it is free.", "neuron", "device")
        age = self._gauge(
            "device_age_seconds", "Since its memory was measured.", "neuron", "device"
        )
        for neuron in fleet:
            for device in neuron.devices:
                age.add_metric((neuron.name, device.id), device.age_s)
                total.add_metric((neuron.name, device.id), device.memory_total_mb * _MIB)
                free.add_metric((neuron.name, device.id), device.memory_free_mb * _MIB)
        yield from (total, free, age)

    def _models(self, fleet: tuple[NeuronState, ...]) -> Iterator[Metric]:
        labels = ("gen_ai_request_model", "neuron")
        state = self._gauge("model_state", "1 for the state that a model is in.", *labels, "state")
        running = self._gauge("model_running", "Requests that generate.", *labels)
        waiting = self._gauge("model_waiting", "Requests that wait in the engine.", *labels)
        memory = self._gauge("model_memory_bytes", "What a model takes, as measured.", *labels)
        restarts = CounterMetricFamily(
            f"{self._prefix}_model_restarts",
            "Restarts of a model's processes since its load.",
            labels=labels,
        )
        for neuron in fleet:
            for model in neuron.models:
                key = model.id, neuron.name
                state.add_metric((*key, model.state), 1)
                running.add_metric(key, model.running)
                waiting.add_metric(key, model.waiting)
                memory.add_metric(key, model.memory_mb * _MIB)
                restarts.add_metric(key, model.restarts)
        yield from (state, running, waiting, memory, restarts)

    def _warm_tier(self, fleet: tuple[NeuronState, ...]) -> Iterator[Metric]:
        budget = self._gauge("warm_budget_bytes", "Host memory for models that sleep.", "neuron")
        labels = ("gen_ai_request_model", "neuron")
        held = self._gauge("warm_model_bytes", "What a sleeping model keeps of it.", *labels)
        for neuron in fleet:
            if neuron.warm_mb:
                budget.add_metric((neuron.name,), neuron.warm_mb * _MIB)
            for record in neuron.records:
                if record.warm:
                    held.add_metric((record.model, neuron.name), record.weights_mb * _MIB)
        yield from (budget, held)

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=labels)
