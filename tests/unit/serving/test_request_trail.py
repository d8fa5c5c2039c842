from __future__ import annotations

from cortex_actors.serving.request_trail import MOST_STEPS, RequestTrail
from transports.schemas.fleet import LeaseSettled, TrailStep


def test_a_request_is_found_by_its_own_id_and_by_its_clients() -> None:
    trail = RequestTrail()
    trail.note("req-1.aa", "m", "waits", 10.0)
    trail.note("req-1.bb", "m", "leased", 11.0, "n1", "only")
    trail.note("req-1.bb", "m", "completed", 12.5, "n1")
    trail.settled("req-1.bb", LeaseSettled(1, "completed"))

    found = trail.explain("req-1")
    assert found is not None
    assert found.request_id == "req-1.bb"
    assert found.steps == (
        TrailStep(0.0, "leased", "n1", "only"),
        TrailStep(1.5, "completed", "n1"),
    )
    assert found.settled == LeaseSettled(1, "completed")
    first = trail.explain("req-1.aa")
    assert first is not None
    assert first.settled is None
    assert trail.explain("req-2") is None


def test_a_request_that_goes_on_elsewhere_has_not_ended() -> None:
    trail = RequestTrail()
    ends = []
    for event in ("leased", "link_lost", "waits", "leased", "completed"):
        trail.note("r", "m", event, 0.0)
        if event not in ("waits", "leased"):
            trail.settled("r", LeaseSettled(1, event))
        found = trail.explain("r")
        assert found is not None
        ends.append(found.settled.outcome if found.settled else None)

    assert ends == [None, "link_lost", None, None, "completed"]


def test_it_is_bounded_in_requests_and_in_steps() -> None:
    trail = RequestTrail(most=2)
    for number in range(3):
        for _ in range(MOST_STEPS + 5):
            trail.note(f"r{number}", "m", "waits", 0.0)
    assert trail.explain("r0") is None
    last = trail.explain("r2")
    assert last is not None
    assert len(last.steps) == MOST_STEPS


def test_the_load_is_what_the_last_lease_waited_for() -> None:
    trail = RequestTrail()
    for at, event in ((0.0, "waits"), (4.0, "leased"), (5.0, "link_lost")):
        trail.note("r", "m", event, at)
    lost = trail.explain("r")
    assert lost is not None
    assert lost.load_s == 4.0

    for at, event in ((6.0, "waits"), (7.0, "waits"), (9.0, "leased"), (9.5, "completed")):
        trail.note("r", "m", event, at)
    moved = trail.explain("r")
    assert moved is not None
    assert moved.load_s == 3.0


def test_a_request_that_found_a_ready_replica_waited_for_no_load() -> None:
    trail = RequestTrail()
    trail.note("waiting", "m", "waits", 1.0)
    trail.note("served", "m", "leased", 2.0, "n1")
    for request_id in ("waiting", "served"):
        found = trail.explain(request_id)
        assert found is not None
        assert found.load_s == 0.0
