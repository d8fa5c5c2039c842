from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from cortex_actors.http.request_log import (
    REQUEST_ID,
    RequestLog,
    StartResponse,
    accept_request_id,
)
from transports.clock import ManualClock

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/x", "REMOTE_ADDR": "127.0.0.1"}


@pytest.mark.parametrize("offered", ["abc-123", "a" * 128, "A.b_c:1"])
def test_a_sane_id_is_kept(offered: str) -> None:
    assert accept_request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "a b", "a\nb", "a" * 129, "ü", "a=b"])
def test_any_other_id_is_replaced(offered: str | None) -> None:
    first, second = accept_request_id(offered), accept_request_id(offered)
    assert first != offered
    assert first != second


def test_one_line_per_request_when_the_body_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    closed = []
    headers: list[tuple[str, str]] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Body:
        assert environ[REQUEST_ID] == "id-1"
        start_response("201 Created", [])
        return Body()

    def start_response(_status: str, sent: list[tuple[str, str]]) -> None:
        headers.extend(sent)

    caplog.set_level(logging.INFO, "cortex.http")
    environ = {**ENVIRON, "HTTP_X_REQUEST_ID": "id-1"}
    counted: list[tuple[str, str]] = []
    log = RequestLog(app, lambda *each: counted.append(each), clock=clock)
    body = log(environ, start_response)
    assert list(body) == [b"a"]
    clock.advance(0.25)
    assert caplog.messages == []
    body.close()  # type: ignore[attr-defined]
    assert caplog.messages == [
        "request id=id-1 client=127.0.0.1 method=GET path=/x status=201 duration_ms=250.0"
    ]
    assert closed == [True]
    assert counted == [("other", "201")]
    assert headers == [("x-request-id", "id-1"), ("request-id", "id-1")]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        *((path, []) for path in ("/health", "/ready", "/metrics", "/admin/status")),
        # What ``cortexd top`` asks for each second, of a gateway and of a neuron.
        *((path, []) for path in ("/debug/actors", "/discovery")),
        ("/v1/models", [logging.INFO]),
    ],
)
def test_what_is_polled_is_told_only_to_those_who_debug(
    caplog: pytest.LogCaptureFixture, path: str, told: list[int]
) -> None:
    def app(_: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return []

    caplog.set_level(logging.INFO, "cortex.http")
    body = RequestLog(app, lambda *_: None)({**ENVIRON, "PATH_INFO": path}, lambda *_: None)
    body.close()  # type: ignore[attr-defined]
    assert [record.levelno for record in caplog.records] == told
