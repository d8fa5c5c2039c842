"""Sending spans of finished requests to an OTLP collector. Needs the ``telemetry`` extra.

Spans are made when a request is over, in its thread, and put into a bounded queue; another thread
exports it. A collector that is slow or away costs spans, never time.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import Final, final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cortex_actors.http.finished_request import FinishedRequest
from cortex_actors.http.request_span import RequestSpan, request_span

QUEUE: Final = 2048
"""How many spans wait at most; of more, the newest are dropped."""

EXPORT_S: Final = 5.0
LAST_EXPORT_S: Final = 1.0

_NS: Final = 1_000_000_000


@final
class RequestTraces:
    """Spans of one process. Create it in the process that uses it, never before a fork.

    The standard variables count (``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_TRACES_SAMPLER``, …), and
    without an ``endpoint``, which is a base URL, ``OTEL_EXPORTER_OTLP_ENDPOINT`` does.
    """

    def __init__(self, service: str, endpoint: str | None = None) -> None:
        named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: service}
        url = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_S)
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE))
        self._tracer = self._provider.get_tracer("cortex")
        self._propagator = TraceContextTextMapPropagator()

    def add(self, request: FinishedRequest) -> None:
        """Queue the spans of a request that is over just now; never waits. Any thread."""
        # Durations are monotonic; only where they lie in time is the wall clock's.
        end = int(datetime.now(tz=UTC).timestamp() * _NS)
        begin = end - int(request.duration_s * _NS)
        self._record(request_span(request), self._parent(request), begin, end)

    def close(self) -> None:
        """Export what is left, for a second at most."""
        last = threading.Thread(target=self._provider.shutdown, name="last_spans", daemon=True)
        last.start()
        last.join(LAST_EXPORT_S)

    def _parent(self, request: FinishedRequest) -> Context:
        carrier = {"traceparent": request.traceparent, "tracestate": request.tracestate}
        given = {name: value for name, value in carrier.items() if value}
        return self._propagator.extract(given, Context())

    def _record(self, told: RequestSpan, parent: Context, begin: int, end: int) -> None:
        span = self._tracer.start_span(
            told.name, parent, SpanKind.SERVER, dict(told.attributes), start_time=begin
        )
        if not span.is_recording():
            return
        if told.error:
            span.set_status(Status(StatusCode.ERROR, told.error))
        if told.first_token_s:
            span.add_event("gen_ai.first_token", timestamp=begin + int(told.first_token_s * _NS))
        inside = set_span_in_context(span, Context())
        for phase in told.phases:
            part = self._tracer.start_span(
                phase.name, inside, start_time=begin + int(phase.begin_s * _NS)
            )
            part.end(min(end, begin + int(phase.end_s * _NS)))
        span.end(end)
