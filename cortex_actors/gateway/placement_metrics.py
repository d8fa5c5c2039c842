"""Prometheus figures of loads and evictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
            "Unloads by the gateway, by why.",
            ("gen_ai_request_model", "neuron", "reason"),
            registry=registry,
        )
        self._jobs = Gauge(
            "cortex_placement_jobs",
            "Models on their way, by how far they are.",
            ("phase",),
            registry=registry,
        )

    def loaded(self, model: str, outcome: str, seconds: float) -> None:
        """A load has ended."""
        self._loads.labels(model, outcome).observe(seconds)

    def unloads(self, model: str, neuron: str, reason: str) -> None:
        """A model is told to leave."""
        self._unloads.labels(model, neuron, reason).inc()

    def jobs(self, counts: Mapping[str, int]) -> None:
        """So many jobs are in each phase now; ``counts`` has all phases."""
        for phase, count in counts.items():
            self._jobs.labels(phase).set(count)
