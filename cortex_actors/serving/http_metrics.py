"""Prometheus figures of HTTP responses, which front-end processes count."""

from __future__ import annotations

from typing import final

from prometheus_client import CollectorRegistry, Counter

from transports.schemas.fleet import HttpResponses


@final
class HttpMetrics:
    """One counter for all front-end processes; their ends subtract nothing. Any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._responses = Counter(
            "cortex_http_responses",
            "HTTP responses by route and status.",
            ("route", "status"),
            registry=registry,
        )

    def add(self, report: HttpResponses) -> None:
        """Count what is new."""
        for route, statuses in report.counts.items():
            for status, count in statuses.items():
                self._responses.labels(route, status).inc(count)
