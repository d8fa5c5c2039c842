"""Where children's and gateways' links end on a neuron."""

from __future__ import annotations

import pytest

from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.gateway_links import GatewayLinks
from cortex_actors.neuron.messages import (
    ChildDown,
    ChildNote,
    ChildUp,
    LoadAsked,
    RenewAsked,
    UnloadAsked,
)
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.messages import SubscriberGone, SubscriberUp
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import Audience, FakeLink, FakeRequest, Recorder
from transports.failures import FailureCode
from transports.link import Identity
from transports.schemas.daemon import EngineReady
from transports.schemas.fleet import (
    ActorRow,
    ActorTable,
    LoadModel,
    ModelSpec,
    QueryActors,
    QueryState,
    RenewStandby,
    StandbyRenewed,
    UnloadModel,
)
from transports.schemas.link import Hello, LinkDrops

BOOT, SLOT, INC = 7, 3, 11


def hello(boot: int = BOOT, slot: int = SLOT, inc: int = INC) -> Hello:
    return Hello(boot, slot, inc, 99, "engine", "engine", 1, 1)


def child_link() -> FakeLink:
    link = FakeLink()
    link.peer = Identity(BOOT, SLOT, INC, 99, "engine", "engine")
    return link


def test_what_children_refused_is_counted_and_told_to_nobody(start: Start) -> None:
    drops = DropTotals()
    links, owner = ChildLinks(BOOT, drops), Audience(start(Recorder))
    links.expect(SLOT, INC, owner.ref)
    for role, count in (("engine", 1), ("rank", 4), ("rank", 1)):
        links.on_note(child_link(), LinkDrops(role, {"after_close": count}), ())

    assert drops.read() == {("engine", "after_close"): 1, ("rank", "after_close"): 5}
    assert owner.heard(ChildNote) == []


@pytest.mark.parametrize(
    ("stranger", "word"),
    [
        (hello(boot=8), "foreign_boot"),
        (hello(slot=4), "unknown_incarnation"),
        (hello(inc=12), "unknown_incarnation"),
    ],
)
def test_only_what_was_just_started_may_connect(start: Start, stranger: Hello, word: str) -> None:
    links = ChildLinks(BOOT, DropTotals())
    links.expect(SLOT, INC, start(Recorder))

    assert links.admit(hello()) is None
    assert links.admit(stranger) == word
    links.forget(SLOT, INC)
    assert links.admit(hello()) == "unknown_incarnation"


def test_what_a_child_says_goes_to_its_owner_until_it_is_forgotten(start: Start) -> None:
    links, owner, link = ChildLinks(BOOT, DropTotals()), Audience(start(Recorder)), child_link()
    ready = EngineReady("tcp://e")
    links.expect(SLOT, INC, owner.ref)
    links.on_up(link)
    links.on_note(link, ready, ())
    links.on_suspect(link)
    links.on_down(link, "disconnected", "gone")
    assert owner.next(ChildUp) == ChildUp(link)
    assert owner.next(ChildNote) == ChildNote(ready)
    assert owner.next(ChildDown) == ChildDown("disconnected", "gone")

    links.forget(SLOT, INC)
    links.forget(SLOT, INC)
    links.on_note(link, ready, ())
    assert owner.heard(ChildNote) == []


def test_children_are_answered_nothing() -> None:
    request = FakeRequest(QueryState())
    ChildLinks(BOOT, DropTotals()).on_request(request)

    assert request.failure().code == FailureCode.INVALID_REQUEST


def test_a_gateway_is_subscribed_and_commands(start: Start) -> None:
    publisher, models = Audience(start(Recorder)), Audience(start(Recorder))
    links, link = GatewayLinks(publisher.ref, models.ref, models.ref), FakeLink()
    spec = ModelSpec("m", "file:///m.gguf")
    load, unload = FakeRequest(LoadModel(spec)), FakeRequest(UnloadModel("m"))
    links.on_up(link)
    links.on_request(load)
    links.on_request(unload)
    links.on_note(link, QueryState(), ())
    links.on_suspect(link)
    links.on_down(link, "disconnected", "")

    assert models.next(LoadAsked) == LoadAsked(spec, load)
    assert models.next(UnloadAsked) == UnloadAsked("m", unload)
    assert publisher.next(SubscriberUp) == SubscriberUp(link)
    assert publisher.next(SubscriberGone) == SubscriberGone(link)


def test_a_gateway_has_what_stands_by_renewed(start: Start) -> None:
    fork_server, other = Audience(start(Recorder)), start(Recorder)
    request = FakeRequest(RenewStandby())
    GatewayLinks(other, other, fork_server.ref).on_request(request)

    assert fork_server.next(RenewAsked) == RenewAsked()
    assert request.answer() == StandbyRenewed()


def test_a_gateway_that_asks_for_something_else_is_refused(start: Start) -> None:
    publisher, models = start(Recorder), start(Recorder)
    request = FakeRequest(QueryState())
    GatewayLinks(publisher, models, models).on_request(request)

    assert request.failure().code == FailureCode.INVALID_REQUEST
    assert "QueryState" in request.failure().message


def test_a_gateway_may_see_every_actor(start: Start) -> None:
    table = ActorTable((ActorRow("models", "Models", "running", 1, 2, 3),))
    nobody, request = start(Recorder), FakeRequest(QueryActors())
    GatewayLinks(nobody, nobody, nobody, lambda: table).on_request(request)

    assert request.answer() == table
