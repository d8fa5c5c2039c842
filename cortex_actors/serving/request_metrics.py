"""Prometheus figures of finished requests, named after OpenTelemetry's GenAI conventions.

Front-end processes report what they saw when they settle a lease; one process aggregates, so the
exposition needs no multi-process files.
"""

from __future__ import annotations

from typing import final

from prometheus_client import CollectorRegistry, Counter, Histogram

from cortex_actors.serving.lease_table import Grant
from transports.schemas.fleet import LeaseSettled

_FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@final
class RequestMetrics:
    """Counters and histograms of settled leases. Safe to use from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("gen_ai_request_model", "neuron")
        self._requests = Counter(
            "cortex_requests", "Requests by outcome.", (*labels, "outcome"), registry=registry
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
        self._tokens = Counter(
            "cortex_tokens", "Tokens by direction.", (*labels, "direction"), registry=registry
        )

    def settled(self, grant: Grant, settled: LeaseSettled) -> None:
        """Count one request whose holder told how it ended."""
        labels = grant.model, grant.neuron
        self._requests.labels(*labels, settled.outcome).inc()
        self._duration.labels(*labels).observe(settled.duration_s)
        if settled.first_token_s:
            self._first_token.labels(*labels).observe(settled.first_token_s)
        self._tokens.labels(*labels, "input").inc(settled.prompt_tokens)
        self._tokens.labels(*labels, "output").inc(settled.completion_tokens)

    def abandoned(self, grant: Grant) -> None:
        """Count one request whose holder died."""
        self._requests.labels(grant.model, grant.neuron, "front_end_died").inc()
