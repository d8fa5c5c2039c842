"""Where a request's time went, for people and programs alike."""

from __future__ import annotations

import msgspec
import pytest
from falcon import testing

from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.inspection_answers import RequestPhases
from cortex_actors.http.request_phases import request_phases
from tests.unit.http.doubles import ScriptedBackend
from transports.schemas.fleet import Explanation, LeaseSettled, QueryExplain, TrailStep
from transports.schemas.text_gaps import TextGaps

SETTLED = LeaseSettled(
    1, "completed", duration_s=9.0, lease_s=4.25, queue_s=0.5, prefill_s=1.0, decode_s=2.0
)


def test_the_load_is_told_apart_from_the_lease_and_writing_is_the_rest() -> None:
    phases = request_phases(SETTLED, 4.0)
    assert phases == RequestPhases(
        lease=0.25, load=4.0, queue=0.5, prefill=1.0, decode=2.0, write=1.25
    )
    assert sum(msgspec.structs.astuple(phases)) == SETTLED.duration_s


@pytest.mark.parametrize(("load_s", "duration_s"), [(4.3, 9.0), (0.0, 7.0), (99.0, 0.0)])
def test_no_phase_is_below_zero(load_s: float, duration_s: float) -> None:
    settled = LeaseSettled(1, "completed", lease_s=4.25, decode_s=3.0, duration_s=duration_s)
    assert min(msgspec.structs.astuple(request_phases(settled, load_s))) >= 0.0


@pytest.mark.parametrize("settled", [SETTLED, None])
def test_the_api_tells_them_of_a_request_that_has_ended(settled: LeaseSettled | None) -> None:
    backend = ScriptedBackend()
    backend.answers[QueryExplain] = Explanation("r.1", "m", (), settled, 4.0)
    client = testing.TestClient(create_gateway_app(backend))

    told = client.simulate_get("/admin/requests/r").json
    assert told["phases"] == (
        None if settled is None else msgspec.to_builtins(request_phases(settled, 4.0))
    )


def test_the_api_tells_the_figures_without_what_marks_them_between_processes() -> None:
    backend = ScriptedBackend()
    settled = msgspec.structs.replace(SETTLED, gaps=TextGaps((1, 2), 0.5))
    backend.answers[QueryExplain] = Explanation("r.1", "m", (TrailStep(0.1, "lease"),), settled)
    told = testing.TestClient(create_gateway_app(backend)).simulate_get("/admin/requests/r").json
    assert told["settled"]["gaps"] == {"counts": [1, 2], "total_s": 0.5}
    assert told["steps"] == [{"at_s": 0.1, "event": "lease", "neuron": "", "detail": ""}]
