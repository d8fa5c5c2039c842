"""What every kind of link does alike."""

from __future__ import annotations

import math

import pytest

from tests.conformance.networks import Network, fresh_identity
from tests.conformance.recorder import ANSWER, QUESTION, SLOW, Events, Recorder, step
from transports.errors import LinkDown
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.link import (
    Completed,
    Failed,
    IncomingRequest,
    LinkState,
    Lost,
)
from transports.schemas.generate import TextDelta
from transports.schemas.group import StepDone
from transports.schemas.link import Drain, Drained, Failure, Hello

WIDE_S = 30.0


def test_both_ends_learn_who_the_other_is(network: Network, server: Recorder) -> None:
    client = Recorder()
    me = network.connect(client)
    network.until(lambda: client.is_up and server.is_up)
    assert server.link.peer == me
    assert (client.link.peer.name, client.link.peer.inc) == ("server", me.inc)
    assert client.link.state is server.link.state is LinkState.UP


def test_question_is_answered(network: Network, server: Recorder, client: Recorder) -> None:
    events = Events()
    call = client.link.request(step(7), events, deadline_s=WIDE_S, trace=99, raw=(b"a", b""))
    network.until(lambda: events.is_over)
    assert events.seen == [Completed(StepDone(7, 0))]
    (request,) = server.requests
    assert (request.body, request.raw, request.trace) == (step(7), (b"a", b""), 99)
    assert request.seq == call.seq
    assert request.link is server.link
    assert request.deadline is not None


def test_endless_question_has_no_deadline(
    network: Network, server: Recorder, client: Recorder
) -> None:
    client.link.request(SLOW, Events(), deadline_s=math.inf)
    network.until(lambda: bool(server.requests))
    assert server.requests[0].deadline is None


def test_answer_carries_raw_frames(network: Network, server: Recorder, client: Recorder) -> None:
    server.answer = lambda request: request.complete(ANSWER, (b"\x00" * 70_000, b"x"))
    events = Events()
    client.link.request(QUESTION, events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)
    assert events.seen == [Completed(ANSWER, (b"\x00" * 70_000, b"x"))]


def test_failure_is_delivered_as_the_peer_gave_it(
    network: Network, server: Recorder, client: Recorder
) -> None:
    failure = Failure("overloaded", "try later", retry_after_s=2.0, detail={"waiting": "9"})
    server.answer = lambda request: request.fail(failure)
    events = Events()
    client.link.request(QUESTION, events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)
    assert events.seen == [Failed(failure)]


def test_questions_go_both_ways(network: Network, server: Recorder, client: Recorder) -> None:
    asked, answered = Events(), Events()
    client.link.request(step(1), asked, deadline_s=WIDE_S)
    server.link.request(step(2), answered, deadline_s=WIDE_S)
    network.until(lambda: asked.is_over and answered.is_over)
    assert asked.seen == [Completed(StepDone(1, 0))]
    assert answered.seen == [Completed(StepDone(2, 0))]


def test_many_questions_each_get_their_own_answer(
    network: Network, server: Recorder, client: Recorder
) -> None:
    calls = [Events() for _ in range(200)]
    for number, events in enumerate(calls):
        client.link.request(step(number), events, deadline_s=WIDE_S)
    network.until(lambda: all(events.is_over for events in calls))
    assert [events.seen for events in calls] == [
        [Completed(StepDone(number, 0))] for number in range(200)
    ]


def test_answers_in_another_order_find_their_questions(
    network: Network, server: Recorder, client: Recorder
) -> None:
    server.answer = lambda _: None
    calls = [Events() for _ in range(5)]
    for number, events in enumerate(calls):
        client.link.request(step(number), events, deadline_s=WIDE_S)
    network.until(lambda: len(server.requests) == 5)
    for request in reversed(server.requests):
        request.complete(request.body)
    network.until(lambda: all(events.is_over for events in calls))
    assert [events.seen for events in calls] == [[Completed(step(number))] for number in range(5)]


def test_cancelled_question_still_ends_with_the_peers_word(
    network: Network, server: Recorder, client: Recorder
) -> None:
    events = Events()
    call = client.link.request(SLOW, events, deadline_s=WIDE_S)
    network.until(lambda: bool(server.requests))
    call.cancel("client gone")
    call.cancel("again")
    network.until(lambda: bool(server.cancelled))
    assert not events.is_over
    failure = Failure(FailureCode.CANCELLED, "cancelled")
    server.requests[0].fail(failure)
    network.until(lambda: events.is_over)
    assert events.seen == [Failed(failure)]
    assert server.cancelled == ["client gone"]


def test_cancellation_is_told_to_who_asks_late(
    network: Network, server: Recorder, client: Recorder
) -> None:
    call = client.link.request(SLOW, Events(), deadline_s=WIDE_S)
    call.cancel("soon")
    network.until(lambda: bool(server.cancelled))
    late: list[str] = []
    server.requests[0].on_cancel(late.append)
    assert late == ["soon"]


def test_late_answer_is_dropped_and_disturbs_nobody(
    network: Network, server: Recorder, client: Recorder
) -> None:
    late = Events()
    client.link.request(SLOW, late, deadline_s=0.05)
    network.until(lambda: late.is_over and bool(server.cancelled))
    assert late.seen == [Lost("deadline")]
    assert server.cancelled == ["deadline"]
    following = Events()
    client.link.request(SLOW, following, deadline_s=WIDE_S)
    network.until(lambda: len(server.requests) == 2)
    server.requests[0].complete(StepDone(1, 0))
    server.requests[1].complete(StepDone(2, 0))
    network.until(lambda: following.is_over)
    assert following.seen == [Completed(StepDone(2, 0))]
    assert late.seen == [Lost("deadline")]
    assert network.dropped(DropReason.STALE_CORR) == 1


def test_second_answer_is_dropped_before_it_is_sent(
    network: Network, server: Recorder, client: Recorder
) -> None:
    before = network.dropped(DropReason.DUPLICATE)
    events = Events()
    client.link.request(SLOW, events, deadline_s=WIDE_S)
    network.until(lambda: bool(server.requests))
    server.requests[0].complete(ANSWER)
    server.requests[0].fail(Failure("internal", "no"))
    network.until(lambda: events.is_over and network.dropped(DropReason.DUPLICATE) > before)
    assert events.seen == [Completed(ANSWER)]


def test_notes_come_in_order_and_draining_has_its_own_kinds(
    network: Network, server: Recorder, client: Recorder
) -> None:
    client.link.note(step(1), raw=(b"r",))
    client.link.note(Drain(1.5))
    client.link.note(Drained())
    network.until(lambda: len(server.notes) == 3)
    assert server.notes == [(step(1), (b"r",)), (Drain(1.5), ()), (Drained(), ())]


def test_goodbye_ends_everything_at_both_ends_once(
    network: Network, server: Recorder, client: Recorder
) -> None:
    mine, theirs = Events(), Events()
    client.link.request(SLOW, mine, deadline_s=WIDE_S)
    server.link.request(SLOW, theirs, deadline_s=WIDE_S)
    network.until(lambda: bool(server.requests and client.requests))
    client.link.close("bored", "nothing to do")
    client.link.close("again")
    network.until(lambda: server.is_down and client.is_down)
    assert client.downs == server.downs == [("bored", "nothing to do")]
    assert mine.seen == theirs.seen == [Lost("link_down", "bored: nothing to do")]
    assert server.cancelled == client.cancelled == ["link_down"]
    assert client.link.state is server.link.state is LinkState.DOWN


def test_what_is_said_before_leaving_is_heard(
    network: Network, server: Recorder, client: Recorder
) -> None:
    events = Events()
    client.link.request(SLOW, events, deadline_s=WIDE_S)
    network.until(lambda: bool(server.requests))
    server.requests[0].complete(ANSWER)
    for number in range(100):
        server.link.note(step(number))
    network.stop_listening()
    network.until(lambda: client.is_down)
    assert events.seen == [Completed(ANSWER)]
    assert [body for body, _ in client.notes] == [step(number) for number in range(100)]
    assert client.downs[0][0] == "listener_closed"


def test_link_that_is_down_takes_nothing(
    network: Network, server: Recorder, client: Recorder
) -> None:
    client.link.request(SLOW, Events(), deadline_s=WIDE_S)
    network.until(lambda: bool(server.requests))
    client.link.close("done")
    network.until(lambda: server.is_down and client.is_down)
    for link in (client.link, server.link):
        with pytest.raises(LinkDown):
            link.request(QUESTION, Events(), deadline_s=1.0)
        with pytest.raises(LinkDown):
            link.note(QUESTION)
        with pytest.raises(LinkDown):
            link.publish([(server.requests[0], TextDelta("x", 0))])
    before = network.dropped(DropReason.AFTER_CLOSE)
    server.requests[0].complete(ANSWER)
    network.until(lambda: network.dropped(DropReason.AFTER_CLOSE) > before)


def test_new_connection_after_a_lost_one_is_a_new_incarnation(
    network: Network, server: Recorder, client: Recorder
) -> None:
    old = server.link.peer
    client.link.close("restart")
    network.until(lambda: server.is_down)
    again = Recorder()
    network.connect(again)
    network.until(lambda: again.is_up and len(server.links) == 2)
    assert server.link.peer.inc > old.inc
    events = Events()
    again.link.request(step(1), events, deadline_s=WIDE_S)
    network.until(lambda: events.is_over)


def test_refused_peer_hears_why_and_never_comes_up(network: Network) -> None:
    greeted: list[Hello] = []

    def admit(hello: Hello) -> str | None:
        greeted.append(hello)
        return "not_expected"

    server, client = Recorder(), Recorder()
    network.listen(server, admit=admit)
    me = network.connect(client)
    network.until(lambda: client.is_down)
    assert client.downs[0][0] == "not_expected"
    assert not client.links
    assert not server.links
    assert (greeted[0].boot, greeted[0].inc, greeted[0].name) == (me.boot, me.inc, "client")


def test_admission_that_fails_refuses(network: Network) -> None:
    def admit(hello: Hello) -> str | None:
        raise RuntimeError(hello.name)

    client = Recorder()
    network.listen(Recorder(), admit=admit)
    network.connect(client)
    network.until(lambda: client.is_down)
    assert client.downs[0][0] == "internal"


def test_nobody_there_is_told_without_waiting(network: Network, server: Recorder) -> None:
    client = Recorder()
    network.connect_nowhere(client)
    network.until(lambda: client.is_down)
    assert client.downs[0][0] == "connect_failed"
    assert not client.links


def test_incarnation_connects_only_once(
    network: Network, server: Recorder, client: Recorder
) -> None:
    me = fresh_identity()
    first, second = Recorder(), Recorder()
    network.connect(first, me)
    network.until(lambda: first.is_up)
    first.link.close("gone")
    network.until(lambda: server.is_down)
    network.connect(second, me)
    network.until(lambda: second.is_down)
    # While a ROUTER still holds the old connection it does not even show us the new one.
    assert second.downs[0][0] in {DropReason.STALE_INCARNATION, "handshake_timeout"}
    assert not second.links


def test_listener_that_closes_says_goodbye(
    network: Network, server: Recorder, client: Recorder
) -> None:
    network.stop_listening()
    network.until(lambda: client.is_down and server.is_down)
    assert client.downs[0][0] == server.downs[0][0] == "listener_closed"


def test_handler_that_fails_costs_its_own_request_only(
    network: Network, server: Recorder, client: Recorder
) -> None:
    def fail_on_odd(request: IncomingRequest) -> None:
        if request.body == step(1):
            raise RuntimeError("boom")
        request.complete(ANSWER)

    server.answer = fail_on_odd
    bad, good = Events(), Events()
    client.link.request(step(1), bad, deadline_s=WIDE_S)
    client.link.request(step(2), good, deadline_s=WIDE_S)
    network.until(lambda: bad.is_over and good.is_over)
    (event,) = bad.seen
    assert isinstance(event, Failed)
    assert event.failure.code == FailureCode.INTERNAL
    assert good.seen == [Completed(ANSWER)]


def test_listener_that_fails_on_an_event_hurts_no_other_call(
    network: Network, server: Recorder, client: Recorder
) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("boom")

    good = Events()
    client.link.request(step(1), explode, deadline_s=WIDE_S)
    client.link.request(step(2), good, deadline_s=WIDE_S)
    network.until(lambda: good.is_over)
    assert good.seen == [Completed(StepDone(2, 0))]
