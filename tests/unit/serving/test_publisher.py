"""The Publisher: who listens is told, on change and regularly."""

from __future__ import annotations

from cortex_actors.serving.messages import SubscriberGone, SubscriberUp, Tick
from cortex_actors.serving.publisher import Publisher
from cortex_actors.serving.state_board import StateBoard
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import FakeLink, neuron_state, settle
from transports.link import LinkState


def test_a_newcomer_is_told_at_once_and_everyone_on_change(start: Start) -> None:
    board = StateBoard(neuron_state("a"))
    publisher, early, late = start(Publisher, board.read), FakeLink(), FakeLink()
    publisher.notify(SubscriberUp(early))
    settle(publisher)
    board.write(neuron_state("b"))
    publisher.notify(SubscriberUp(late))
    publisher.notify(Tick())
    settle(publisher)

    assert early.notes[:2] == [neuron_state("a"), neuron_state("b")]
    assert late.notes[:2] == [neuron_state("b"), neuron_state("b")]
    assert publisher.summary() == "subscribers=2"


def test_it_pushes_without_being_told_to(start: Start) -> None:
    publisher, link = start(Publisher, lambda: neuron_state("a")), FakeLink()
    publisher.notify(SubscriberUp(link))

    eventually(lambda: len(link.notes) >= 2)


def test_a_link_that_is_down_stops_nobody(start: Start) -> None:
    publisher, broken, sound = start(Publisher, lambda: neuron_state("a")), FakeLink(), FakeLink()
    broken.state = LinkState.DOWN
    for link in (broken, sound):
        publisher.notify(SubscriberUp(link))
    settle(publisher)
    assert sound.notes != []

    publisher.notify(SubscriberGone(broken))
    publisher.notify(SubscriberGone(broken))
    settle(publisher)
    assert publisher.summary() == "subscribers=1"
