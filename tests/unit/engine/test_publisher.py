from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from neuron_runtime.engine.publisher import RETRY_S, STUCK_S, Publisher
from transports.errors import Backpressure, LinkDown, TransportError
from transports.inproc import InprocNetwork
from transports.link import Identity, IncomingRequest
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

DONE = GenerateDone("stop", 1, 1)
GONE = Failure("cancelled", "gone")


class FakeLink:
    """A link that is full or down when told so."""

    peer = Identity(1, 0, 0, 0, "front_end", "f")

    def __init__(self) -> None:
        self.error: TransportError | None = None
        self.sent: list[object] = []
        self.closed: list[str] = []

    def publish(self, pieces: Sequence[tuple[IncomingRequest, TextDelta]]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append([delta.text for _, delta in pieces])

    def close(self, reason: str, detail: str = "") -> None:
        self.closed.append(reason)


class FakeRequest:
    """A request of a FakeLink."""

    def __init__(self, link: FakeLink) -> None:
        self.link = link

    def complete(self, body: object) -> None:
        self.link.sent.append(body)

    def fail(self, failure: Failure) -> None:
        self.link.sent.append(failure)


@pytest.fixture
def network() -> InprocNetwork:
    return InprocNetwork()


def piece(publisher: Publisher, link: FakeLink, text: str) -> None:
    publisher.piece(FakeRequest(link), TextDelta(text, 0))  # type: ignore[arg-type]


def answer(publisher: Publisher, link: FakeLink, body: GenerateDone | Failure) -> None:
    publisher.answer(FakeRequest(link), body)  # type: ignore[arg-type]


def test_one_message_per_link_then_its_answers(network: InprocNetwork) -> None:
    publisher, one, two = Publisher(network), FakeLink(), FakeLink()
    piece(publisher, one, "a")
    answer(publisher, one, DONE)
    piece(publisher, two, "b")
    piece(publisher, one, "c")
    answer(publisher, two, GONE)
    publisher.flush()

    assert one.sent == [["a", "c"], DONE]
    assert two.sent == [["b"], GONE]
    assert publisher.idle


def test_an_answer_takes_the_last_pieces_of_its_own_text_along(network: InprocNetwork) -> None:
    publisher, link = Publisher(network), FakeLink()
    ended, failed, running = FakeRequest(link), FakeRequest(link), FakeRequest(link)
    for text, request in (("a", ended), ("b", failed), ("c", running), ("d", ended)):
        publisher.piece(request, TextDelta(text, 0))  # type: ignore[arg-type]
    publisher.answer(ended, DONE)  # type: ignore[arg-type]
    publisher.answer(failed, GONE)  # type: ignore[arg-type]
    publisher.flush()

    last = (TextDelta("a", 0), TextDelta("d", 0))
    assert link.sent == [["b", "c"], msgspec.structs.replace(DONE, last=last), GONE]


def test_a_full_link_loses_nothing_and_keeps_the_order(network: InprocNetwork) -> None:
    publisher, link = Publisher(network), FakeLink()
    link.error = Backpressure("full")
    piece(publisher, link, "a")
    publisher.flush()
    piece(publisher, link, "b")
    answer(publisher, link, DONE)
    publisher.flush()
    assert link.sent == []
    assert not publisher.idle

    link.error = None
    network.advance(2 * RETRY_S)

    assert link.sent == [["a", "b"], DONE]
    assert publisher.idle


def test_a_full_link_does_not_hold_up_another(network: InprocNetwork) -> None:
    publisher, full, free = Publisher(network), FakeLink(), FakeLink()
    full.error = Backpressure("full")
    piece(publisher, full, "a")
    piece(publisher, free, "b")
    publisher.flush()

    assert free.sent == [["b"]]


def test_a_reader_that_stays_stuck_is_cut_off(network: InprocNetwork) -> None:
    publisher, link = Publisher(network), FakeLink()
    link.error = Backpressure("full")
    piece(publisher, link, "a")
    publisher.flush()
    network.advance(STUCK_S + 1)

    assert link.closed == ["stuck"]
    assert publisher.idle


def test_pieces_for_a_lost_link_are_dropped(network: InprocNetwork) -> None:
    publisher, link = Publisher(network), FakeLink()
    link.error = LinkDown("gone")
    piece(publisher, link, "a")
    answer(publisher, link, GONE)
    publisher.flush()

    assert publisher.idle


def test_a_link_that_is_lost_while_it_is_written_repeats_nothing_on_another(
    network: InprocNetwork,
) -> None:
    publisher, lost, other = Publisher(network), FakeLink(), FakeLink()

    def publish(pieces: Sequence[tuple[IncomingRequest, TextDelta]]) -> None:
        # As the engine does when the link's requests are cancelled.
        lost.publish = FakeLink.publish.__get__(lost)  # type: ignore[method-assign]
        lost.error = LinkDown("gone")
        answer(publisher, lost, GONE)
        publisher.flush()
        raise lost.error

    lost.publish = publish  # type: ignore[method-assign]
    piece(publisher, lost, "a")
    piece(publisher, other, "b")
    answer(publisher, other, DONE)
    publisher.flush()

    assert other.sent == [["b"], DONE]
    assert publisher.idle
