"""Prometheus figures of loads and evictions."""

from __future__ import annotations

from typing import final

from prometheus_client import CollectorRegistry, Counter, Histogram

_LOAD_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1800)


@final
class PlacementMetrics:
    """Counts what Placement does. Safe to use from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Histogram(
            "cortex_model_load_seconds",
            "From the wish for a model until it was ready or had failed, evictions included.",
            ("gen_ai_request_model", "outcome"),
            buckets=_LOAD_BUCKETS_S,
            registry=registry,
        )
        self._unloads = Counter(
            "cortex_model_unloads",
            "Unloads by the gateway: to make room, for idleness, for an operator.",
            ("gen_ai_request_model", "neuron"),
            registry=registry,
        )

    def loaded(self, model: str, outcome: str, seconds: float) -> None:
        """A load has ended."""
        self._loads.labels(model, outcome).observe(seconds)

    def unloads(self, model: str, neuron: str) -> None:
        """A model is told to leave."""
        self._unloads.labels(model, neuron).inc()
