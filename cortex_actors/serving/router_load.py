"""Prometheus figures of what a router has out and what waits there, as of its last look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily


@final
class RouterLoad:
    """A collector. Series of what is gone disappear with it."""

    def __init__(self) -> None:
        # SAFETY: written by the router and read by whoever scrapes; only ever replaced as a whole.
        self._seen: tuple[dict[str, int], dict[tuple[str, str], int]] = {}, {}

    def see(self, parked: Mapping[str, int], leases: Mapping[tuple[str, str], int]) -> None:
        """Take the number of parked requests by model, and of leases by model and neuron."""
        self._seen = dict(parked), dict(leases)

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures. Any thread."""
        parked, leases = self._seen
        waiting = GaugeMetricFamily(
            "cortex_requests_parked",
            "Requests that wait until a replica of their model is ready.",
            labels=("gen_ai_request_model",),
        )
        for model, count in parked.items():
            waiting.add_metric((model,), count)
        in_force = GaugeMetricFamily(
            "cortex_leases", "Leases in force.", labels=("gen_ai_request_model", "neuron")
        )
        for key, count in leases.items():
            in_force.add_metric(key, count)
        yield from (waiting, in_force)
