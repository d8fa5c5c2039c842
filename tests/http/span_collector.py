"""A small OTLP/HTTP collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SpanCollector:
    """Keeps the bodies that were posted to ``/v1/traces``; while ``held``, it answers nobody."""

    def __init__(self, *, held: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.asked = threading.Event()
        self.answering = threading.Event()
        if not held:
            self.answering.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    collector.bodies.append(body)
                collector.asked.set()
                collector.answering.wait()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        """Return all spans that have come."""
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        return [
            span
            for body in self.bodies
            for resource in trace_service_pb2.ExportTraceServiceRequest.FromString(
                body
            ).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def span_collector(*, held: bool = False) -> Iterator[SpanCollector]:
    """Run one."""
    collector = SpanCollector(held=held)
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.answering.set()
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()
