"""Where the front ends' links end: everything is passed on or refused at once."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.front_desk import FrontDesk
from cortex_actors.serving.http_metrics import HttpMetrics
from cortex_actors.serving.lease_table import holder_of
from cortex_actors.serving.messages import (
    HolderGone,
    LeaseAsked,
    LeasesReturned,
    OperatorAsked,
    SubscriberGone,
    SubscriberUp,
)
from tests.unit.kit.actors import Gate
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import SOON_S, Audience, FakeLink, FakeRequest, Recorder
from transports.failures import FailureCode
from transports.schemas.body import Body
from transports.schemas.fleet import (
    HttpResponses,
    LeaseRequest,
    LeaseSettled,
    LeasesSettled,
    QueryState,
)
from transports.schemas.link import LinkDrops

LEASE, STATE = LeaseRequest("id", "m"), QueryState()


class Busy(SupervisedActor):
    """Has room for one message and no time for it."""

    mailbox_limit = 1

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def receive(self, message: object) -> None:
        self._gate.hold(message)


class Scene:
    """A front desk before three recorders."""

    def __init__(self, start: Start) -> None:
        self.router, self.publisher, self.operations = (
            Audience(start(Recorder, name=name)) for name in ("router", "publisher", "operations")
        )
        self.drops = DropTotals()
        self.metrics = CollectorRegistry()
        self.desk = FrontDesk(
            self.router.ref,
            self.publisher.ref,
            self.operations.ref,
            self.drops,
            HttpMetrics(self.metrics),
        )


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def test_each_question_goes_to_who_answers_it(scene: Scene) -> None:
    lease, state = FakeRequest(LEASE), FakeRequest(STATE)
    scene.desk.on_request(lease)
    scene.desk.on_request(state)

    assert scene.router.heard(LeaseAsked) == [LeaseAsked(lease, LEASE)]
    assert scene.operations.heard(OperatorAsked) == [OperatorAsked(state)]
    assert lease.answers == state.answers == []


def test_a_link_is_subscribed_and_its_end_releases_what_it_held(scene: Scene) -> None:
    link, settled = FakeLink(), LeaseSettled(3, "completed")
    scene.desk.on_up(link)
    scene.desk.on_note(link, LeasesSettled((settled,)), ())
    scene.desk.on_note(link, STATE, ())
    scene.desk.on_suspect(link)
    scene.desk.on_down(link, "disconnected", "")

    assert scene.publisher.heard(SubscriberUp) == [SubscriberUp(link)]
    assert scene.router.next(LeasesReturned) == LeasesReturned(holder_of(link), (settled,))
    assert scene.router.next(HolderGone) == HolderGone(holder_of(link))
    assert scene.router.heard(LeasesReturned) == []


def test_what_front_ends_refused_is_added_up(scene: Scene) -> None:
    for count in (2, 3):
        scene.desk.on_note(FakeLink(), LinkDrops("front_end", {"stale_corr": count}), ())

    assert scene.drops.read() == {("front_end", "stale_corr"): 5}


def test_responses_of_all_front_ends_are_added_up(scene: Scene) -> None:
    for count in (2, 3):
        report = HttpResponses({"/v1/models": {"200": count, "404": 1}})
        scene.desk.on_note(FakeLink(), report, ())

    counted = {
        status: scene.metrics.get_sample_value(
            "cortex_http_responses_total", {"route": "/v1/models", "status": status}
        )
        for status in ("200", "404")
    }
    assert counted == {"200": 5, "404": 2}


def test_the_end_of_a_link_is_told_to_the_publisher(scene: Scene) -> None:
    link = FakeLink()
    scene.desk.on_down(link, "disconnected", "")

    assert scene.publisher.heard(SubscriberGone) == [SubscriberGone(link)]


@pytest.mark.parametrize("body", [LEASE, STATE], ids=["router", "operations"])
def test_a_full_mailbox_is_an_immediate_refusal(start: Start, body: Body) -> None:
    gate = Gate()
    busy = start(Busy, gate, name="busy")
    busy.tell("hold")
    assert gate.entered.wait(SOON_S)
    busy.tell("wait")
    request = FakeRequest(body)
    FrontDesk(busy, busy, busy, DropTotals(), HttpMetrics(CollectorRegistry())).on_request(request)
    failure = request.failure()
    gate.opened.set()

    assert failure.code == FailureCode.OVERLOADED
    assert failure.retry_after_s


@pytest.mark.parametrize("body", [LEASE, STATE], ids=["router", "operations"])
def test_a_dead_actor_is_an_immediate_refusal(start: Start, body: Body) -> None:
    dead = start(Recorder, name="dead")
    dead.stop()
    assert dead.exit.wait(SOON_S)
    request = FakeRequest(body)
    FrontDesk(dead, dead, dead, DropTotals(), HttpMetrics(CollectorRegistry())).on_request(request)

    assert request.failure().code == FailureCode.MODEL_UNAVAILABLE
    assert request.failure().retry_after_s
