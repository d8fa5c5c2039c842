"""Which leases the Router lets a front end keep, and what it makes of their further requests."""

from __future__ import annotations

import pytest

from cortex_actors.serving.lease_table import holder_of
from cortex_actors.serving.messages import (
    ExplainAsked,
    FleetChanged,
    HolderGone,
    LeasesReturned,
    ReplicaInUse,
    Requested,
    Tick,
)
from cortex_actors.serving.router import KEEP_S
from tests.unit.serving.doubles import FakeLink, FakeRequest, model_state, neuron_state, settle
from tests.unit.serving.router_scene import Scene
from transports.schemas.fleet import Explanation, Lease, LeaseSettled, QueryExplain, TrailStep


def leased(scene: Scene, link: FakeLink, model: str = "m") -> Lease:
    answer = scene.ask(model, link).answer()
    assert isinstance(answer, Lease)
    return answer


def returned(scene: Scene, link: FakeLink, *settled: LeaseSettled) -> None:
    scene.router.tell(LeasesReturned(holder_of(link), settled))
    settle(scene.router)


def explained(scene: Scene, request_id: str) -> Explanation:
    question = FakeRequest(QueryExplain(request_id))
    scene.router.tell(ExplainAsked(question, request_id))
    answer = question.answer()
    assert isinstance(answer, Explanation)
    return answer


@pytest.mark.parametrize(("name", "keep_s"), [("m", KEEP_S), ("chain", KEEP_S), ("mixed", 0.0)])
def test_only_a_lease_on_what_was_asked_for_first_may_be_kept(
    scene: Scene, name: str, keep_s: float
) -> None:
    scene.show(model_state("m"))
    assert leased(scene, FakeLink(), name).keep_s == keep_s


def test_where_there_is_a_choice_each_request_must_ask(scene: Scene) -> None:
    two = [neuron_state(name, model_state("m", neuron=name)) for name in ("n1", "n2")]
    scene.board.write(tuple(two))
    scene.router.notify(FleetChanged())
    assert leased(scene, FakeLink()).keep_s == 0.0


def test_a_lease_on_a_replica_that_is_full_may_not_be_kept(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    full = LeaseSettled(leased(scene, link).lease, "overloaded", retry_after_s=5.0)
    returned(scene, link, full)
    assert leased(scene, link).keep_s == 0.0
    scene.clock.advance(5.0)
    assert leased(scene, link).keep_s == KEEP_S


def test_requests_that_use_a_kept_lease_count_like_any_other(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    lease = leased(scene, link).lease
    scene.clock.advance(3.0)
    again = LeaseSettled(lease, "completed", duration_s=1.0, kept=True, request_id="second")
    last = LeaseSettled(lease, "cancelled", request_id="third")
    returned(scene, link, LeaseSettled(lease, "completed", kept=True), again)
    assert scene.summary == "leases=1 parked=0"
    returned(scene, link, last)

    assert scene.summary == "leases=0 parked=0"
    assert (scene.counted("completed"), scene.counted("cancelled")) == (2.0, 1.0)
    assert explained(scene, "second").steps == (
        TrailStep(0.0, "leased", "n1", "a kept lease"),
        TrailStep(1.0, "completed", "n1"),
    )
    assert explained(scene, "third").settled == last
    assert explained(scene, "id").steps[-1] == TrailStep(3.0, "completed", "n1")
    assert [each.leases for each in scene.loader.heard(ReplicaInUse)] == [1, 0]
    scene.router.notify(Tick())
    assert scene.loader.next(Requested).requests == {"m": 3}


def test_a_holder_that_dies_has_one_request_at_most_on_each_lease(scene: Scene) -> None:
    scene.show(model_state("m"))
    link = FakeLink()
    lease = leased(scene, link).lease
    returned(scene, link, LeaseSettled(lease, "completed", kept=True))
    scene.router.tell(HolderGone(holder_of(link)))

    assert scene.summary == "leases=0 parked=0"
    assert (scene.counted("completed"), scene.counted("front_end_died")) == (1.0, 1.0)
    assert explained(scene, "id").steps[-1].event == "completed"
