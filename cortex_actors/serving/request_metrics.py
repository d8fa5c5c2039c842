"""Prometheus figures of finished requests, named after OpenTelemetry's GenAI conventions.

Front-end processes report what they saw when they settle a lease; one process aggregates, so the
exposition needs no multi-process files.
"""

from __future__ import annotations

from typing import Any, TypeVar, final

from prometheus_client import CollectorRegistry, Counter, Histogram

from cortex_actors.serving.gap_metrics import GapMetrics
from cortex_actors.serving.lease_table import Grant
from cortex_actors.serving.router_load import RouterLoad
from transports.schemas.fleet import LeaseSettled

_Metric = TypeVar("_Metric", Counter, Histogram)

_FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_PER_TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800)


@final
class RequestMetrics:
    """Counters and histograms of settled leases. Safe to use from any thread.

    ``load`` is for the router to tell what it has out.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("gen_ai_request_model", "neuron")
        self._requests = Counter(
            "cortex_requests", "Requests by outcome.", (*labels, "outcome"), registry=registry
        )
        self._moved = Counter(
            "cortex_requests_moved",
            "Leases whose request went on elsewhere, by why.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request's arrival to its first token.",
            labels,
            buckets=_FIRST_TOKEN_BUCKETS_S,
            registry=registry,
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From the request's arrival to its end.",
            labels,
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time between output tokens after the first, per request.",
            labels,
            buckets=_PER_TOKEN_BUCKETS_S,
            registry=registry,
        )
        self._phases = Histogram(
            "cortex_request_phase_seconds",
            "Time of a request by phase: lease (with a cold load), queue, prefill, decode.",
            (*labels, "phase"),
            buckets=_FIRST_TOKEN_BUCKETS_S,
            registry=registry,
        )
        self._let_go = Histogram(
            "cortex_disconnect_to_kv_free_seconds",
            "From a client's leaving until the engine had let go of its request.",
            labels,
            buckets=_PER_TOKEN_BUCKETS_S,
            registry=registry,
        )
        self._tokens = Counter(
            "cortex_tokens", "Tokens by direction.", (*labels, "direction"), registry=registry
        )
        self._gaps = GapMetrics()
        registry.register(self._gaps)
        self.load = RouterLoad()
        registry.register(self.load)
        self._children: dict[tuple[Any, ...], Any] = {}

    def settled(self, grant: Grant, settled: LeaseSettled) -> None:
        """Count one request whose holder told how it ended."""
        labels = grant.model, grant.neuron
        self._child(self._tokens, *labels, "output").inc(settled.completion_tokens)
        if settled.gaps is not None:
            self._gaps.add(*labels, settled.gaps)
        if not settled.last:
            self._child(self._moved, *labels, settled.outcome).inc()
            return
        self._child(self._requests, *labels, settled.outcome).inc()
        self._child(self._duration, *labels).observe(settled.duration_s)
        if settled.first_token_s:
            self._child(self._first_token, *labels).observe(settled.first_token_s)
        if settled.decode_s and settled.completion_tokens > 1:
            gap_s = settled.decode_s / (settled.completion_tokens - 1)
            self._child(self._per_token, *labels).observe(gap_s)
        for phase in ("lease", "queue", "prefill", "decode"):
            seconds = getattr(settled, f"{phase}_s")
            if seconds:
                self._child(self._phases, *labels, phase).observe(seconds)
        if settled.cancel_s:
            self._child(self._let_go, *labels).observe(settled.cancel_s)
        for direction, count in (
            ("input", settled.prompt_tokens),
            ("cached", settled.cached_tokens),
            ("reasoning", settled.reasoning_tokens),
        ):
            self._child(self._tokens, *labels, direction).inc(count)

    def abandoned(self, grant: Grant) -> None:
        """Count one request whose holder died."""
        self._child(self._requests, grant.model, grant.neuron, "front_end_died").inc()

    def _child(self, metric: _Metric, *labels: str) -> _Metric:
        # PERF: labels() takes a lock and makes strings of all values, and was half of settling.
        key = (metric, *labels)
        child: _Metric | None = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child
