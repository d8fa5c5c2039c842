"""The actor that owns a bound address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cortex_actors.kit.reasons import ExitKind
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.listener import ListenerActor
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import SOON_S
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body

ANY_PORT = "tcp://127.0.0.1:*"


class Nobody:
    """Handles links that never come."""

    def on_up(self, link: Link) -> None: ...

    def on_request(self, request: IncomingRequest) -> None: ...

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None: ...

    def on_suspect(self, link: Link) -> None: ...

    def on_down(self, link: Link, reason: str, detail: str) -> None: ...


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(SOON_S)


def listen(start: Start, reactor: Reactor, endpoint: str) -> ActorRef:
    me = process_identity("neuron", "n1")
    return start(ListenerActor, reactor, endpoint, me, Nobody(), name="desk")


def test_a_successor_gets_the_same_address(start: Start, reactor: Reactor) -> None:
    former = listen(start, reactor, ANY_PORT)
    assert former.ready.wait(SOON_S)
    address = former.summary()
    former.stop()
    assert former.exit.wait(SOON_S)

    latter = listen(start, reactor, address)
    assert latter.ready.wait(SOON_S)
    assert latter.ready.error is None
    assert latter.summary() == address


def test_an_address_that_is_taken_is_a_failed_start(start: Start, reactor: Reactor) -> None:
    holder = listen(start, reactor, ANY_PORT)
    assert holder.ready.wait(SOON_S)

    rival = listen(start, reactor, holder.summary())
    assert rival.exit.wait(SOON_S)
    assert rival.exit.result().kind is ExitKind.INIT_FAILED
    assert holder.summary() in str(rival.exit.result())
