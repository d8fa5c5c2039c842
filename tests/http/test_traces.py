"""Spans of requests, as a collector gets them from a real server process."""

from __future__ import annotations

import signal
from typing import Any

import httpx
import pytest

from tests.http.scripted_fleet import MODEL, ScriptedFleet
from tests.http.server_process import ServerProcess, server_process
from tests.http.span_collector import SpanCollector, span_collector

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="make test installs it")
pytestmark = pytest.mark.process

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def ask(server: ServerProcess, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/chat/completions",
        json=BODY,
        headers={"x-request-id": "req-1", **headers},
        timeout=20.0,
        trust_env=False,
    )


def ended(server: ServerProcess) -> None:
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(10.0) == 0
    assert "Traceback" not in server.log()


def attributes(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes
    }


def served(collector: SpanCollector) -> Any:
    (span,) = (each for each in collector.spans() if each.name == f"chat {MODEL}")
    return span


def test_a_request_is_a_span_of_its_callers_trace(fleet: ScriptedFleet) -> None:
    with (
        span_collector() as collector,
        server_process(fleet.endpoint, f"--otlp-endpoint={collector.url}") as server,
    ):
        server.await_ready()
        assert ask(server, traceparent=f"00-{TRACE}-{CALLER}-01").status_code == 200
        ended(server)
        span = served(collector)
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
        told = attributes(span)
        assert told["cortex.request_id"] == "req-1"
        assert told["gen_ai.request.model"] == told["gen_ai.response.model"] == MODEL
        assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (5, 2)
        assert [event.name for event in span.events] == ["gen_ai.first_token"]
        below = [each for each in collector.spans() if each.parent_span_id == span.span_id]
        # The scripted engine tells no times; decoding is what is seen, if its pieces came apart.
        assert [each.name for each in below] in (["lease"], ["lease", "decode"])
        assert span.start_time_unix_nano <= below[0].start_time_unix_nano
        assert below[0].end_time_unix_nano <= span.end_time_unix_nano


def test_the_standard_variable_does_without_a_key(
    fleet: ScriptedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with span_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with server_process(fleet.endpoint) as server:
            server.await_ready()
            assert ask(server, traceparent="nonsense").status_code == 200
            ended(server)
        assert served(collector).parent_span_id == b""


def test_a_caller_that_does_not_sample_is_heeded(fleet: ScriptedFleet) -> None:
    with (
        span_collector() as collector,
        server_process(fleet.endpoint, f"--otlp-endpoint={collector.url}") as server,
    ):
        server.await_ready()
        assert ask(server, traceparent=f"00-{TRACE}-{CALLER}-00").status_code == 200
        ended(server)
        assert collector.spans() == []


def test_a_collector_that_never_answers_holds_up_neither_requests_nor_the_end(
    fleet: ScriptedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    with (
        span_collector(held=True) as collector,
        server_process(fleet.endpoint, f"--otlp-endpoint={collector.url}") as server,
    ):
        server.await_ready()
        assert ask(server).status_code == 200
        assert collector.asked.wait(10.0)
        assert all(ask(server).status_code == 200 for _ in range(50))
        ended(server)
