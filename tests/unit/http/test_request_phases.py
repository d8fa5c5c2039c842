"""Where a request's time went, for people and programs alike."""

from __future__ import annotations

import pytest
from falcon import testing

from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.request_phases import request_phases
from tests.unit.http.doubles import ScriptedBackend
from transports.schemas.fleet import Explanation, LeaseSettled, QueryExplain

SETTLED = LeaseSettled(
    1, "completed", duration_s=9.0, lease_s=4.25, queue_s=0.5, prefill_s=1.0, decode_s=2.0
)


def test_the_load_is_told_apart_from_the_lease_and_writing_is_the_rest() -> None:
    phases = request_phases(SETTLED, 4.0)
    assert phases == {
        "lease": 0.25,
        "load": 4.0,
        "queue": 0.5,
        "prefill": 1.0,
        "decode": 2.0,
        "write": 1.25,
    }
    assert sum(phases.values()) == SETTLED.duration_s


@pytest.mark.parametrize(("load_s", "duration_s"), [(4.3, 9.0), (0.0, 7.0), (99.0, 0.0)])
def test_no_phase_is_below_zero(load_s: float, duration_s: float) -> None:
    settled = LeaseSettled(1, "completed", lease_s=4.25, decode_s=3.0, duration_s=duration_s)
    assert min(request_phases(settled, load_s).values()) >= 0.0


@pytest.mark.parametrize("settled", [SETTLED, None])
def test_the_api_tells_them_of_a_request_that_has_ended(settled: LeaseSettled | None) -> None:
    backend = ScriptedBackend()
    backend.answers[QueryExplain] = Explanation("r.1", "m", (), settled, 4.0)
    client = testing.TestClient(create_gateway_app(backend))

    told = client.simulate_get("/admin/requests/r").json
    assert told["phases"] == (None if settled is None else request_phases(settled, 4.0))
