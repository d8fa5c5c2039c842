"""What every kind of link does alike with answers that come in pieces."""

from __future__ import annotations

from tests.conformance.networks import Network
from tests.conformance.recorder import ANSWER, QUESTION, SLOW, Events, Recorder
from transports.link import Chunk, Completed, IncomingRequest
from transports.schemas.generate import GenerateDone, TextDelta

WIDE_S = 30.0


def test_stream_comes_whole_and_in_order(
    network: Network, server: Recorder, client: Recorder
) -> None:
    def stream(request: IncomingRequest) -> None:
        request.progress(ANSWER)
        for index, text in enumerate("streaming"):
            request.link.publish([(request, TextDelta(text, index))])
        request.complete(GenerateDone("stop", 1, 9))

    server.answer = stream
    events = Events()
    client.link.request(QUESTION, events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)
    assert events.progress == [ANSWER]
    assert events.text == "streaming"
    assert events.indexes == list(range(9))
    assert events.terminals == [Completed(GenerateDone("stop", 1, 9, pieces=9))]


def test_last_pieces_that_come_with_the_end_follow_the_others(
    network: Network, server: Recorder, client: Recorder
) -> None:
    def stream(request: IncomingRequest) -> None:
        request.link.publish([(request, TextDelta("be", 0, (1, 2)))])
        later = tuple(TextDelta(text, 2 + at, (3 + at,)) for at, text in enumerate("fore"))
        request.complete(GenerateDone("stop", 1, 6, last=later))

    server.answer = stream
    events = Events()
    client.link.request(QUESTION, events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)
    assert events.text == "before"
    assert events.indexes == [0, 1]
    assert events.seen[-1] == Completed(GenerateDone("stop", 1, 6, pieces=2))


def test_pieces_of_one_stream_that_go_together_are_joined(
    network: Network, server: Recorder, client: Recorder
) -> None:
    def stream(request: IncomingRequest) -> None:
        pieces = [TextDelta(text, at, (at,)) for at, text in enumerate("together")]
        request.link.publish([(request, piece) for piece in pieces])
        request.complete(GenerateDone("stop", 1, 8))

    server.answer = stream
    events = Events()
    client.link.request(QUESTION, events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)
    assert events.text == "together"
    assert events.seen[0] == Chunk(0, TextDelta("together", 0, tuple(range(8))))
    assert events.seen[1:] == [Completed(GenerateDone("stop", 1, 8, pieces=1))]


def test_one_message_feeds_several_streams(
    network: Network, server: Recorder, client: Recorder
) -> None:
    calls = [Events() for _ in range(3)]
    for events in calls:
        client.link.request(SLOW, events, deadline_s=WIDE_S)
    network.until(lambda: len(server.requests) == 3)
    for index in range(4):
        pieces = [
            (request, TextDelta(f"{at}{index} ", index))
            for at, request in enumerate(server.requests)
        ]
        server.link.publish(pieces)
    server.requests[1].complete(ANSWER)
    server.link.publish([(request, TextDelta("late", 4)) for request in server.requests[:2]])
    network.until(lambda: calls[1].is_over and len(calls[0].seen) == 5)
    assert [events.text for events in calls] == [
        "00 01 02 03 late",
        "10 11 12 13 ",
        "20 21 22 23 ",
    ]
