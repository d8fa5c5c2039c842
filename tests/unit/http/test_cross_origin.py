from __future__ import annotations

import pytest
from falcon import testing

from cortex_actors.http.app import create_gateway_app
from tests.unit.http.doubles import ScriptedBackend

CHAT, PAGE = "/v1/chat/completions", "https://chat.example"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


def client(*origins: str) -> testing.TestClient:
    return testing.TestClient(create_gateway_app(ScriptedBackend(), cors_origins=origins))


def cors(result: testing.Result) -> dict[str, str]:
    names = {name for name in result.headers if name.startswith("access-control-")}
    return {name: result.headers[name] for name in sorted(names)}


def test_it_is_off_unless_configured() -> None:
    for result in (
        client().simulate_options(CHAT, headers=PREFLIGHT),
        client().simulate_get("/v1/models", headers={"origin": PAGE}),
    ):
        assert cors(result) == {}
        assert "vary" not in result.headers


@pytest.mark.parametrize(("origins", "allowed"), [(("*",), "*"), ((PAGE, "http://b"), PAGE)])
def test_a_preflight_is_answered_by_the_routes_methods(
    origins: tuple[str, ...], allowed: str
) -> None:
    result = client(*origins).simulate_options(CHAT, headers=PREFLIGHT)
    assert result.status_code == 200
    found = cors(result)
    assert found["access-control-allow-origin"] == allowed
    assert found["access-control-allow-methods"] == "POST"
    assert found["access-control-allow-headers"] == "authorization,content-type"
    assert "access-control-allow-credentials" not in found


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/nope", "/v1/nope", CHAT])
def test_responses_and_refusals_are_readable_with_their_request_id(path: str) -> None:
    result = client(PAGE).simulate_get(path, headers={"origin": PAGE})
    found = cors(result)
    assert found["access-control-allow-origin"] == PAGE
    assert {"x-request-id", "request-id", "retry-after"} <= set(
        found["access-control-expose-headers"].split(", ")
    )
    assert result.headers["vary"] == "Origin"


def test_streams_are_readable() -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    result = client("*").simulate_post(CHAT, json=body, headers={"origin": PAGE})
    assert result.text.startswith("data:")
    assert cors(result)["access-control-allow-origin"] == "*"


def test_another_origin_is_told_nothing_but_that_it_varies() -> None:
    result = client(PAGE).simulate_get("/v1/models", headers={"origin": "https://evil.example"})
    assert cors(result) == {}
    assert result.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/admin/unload", "/debug/actors"])
def test_operators_routes_stay_closed(path: str) -> None:
    assert cors(client("*").simulate_options(path, headers=PREFLIGHT)) == {}
