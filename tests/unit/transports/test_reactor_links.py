"""Links of one reactor: who sends, on which thread callbacks run, and what becomes of pressure."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence

import pytest

from tests.conformance.networks import CALM
from tests.conformance.recorder import TERMINAL, Events, Recorder, step
from tests.eventually import eventually
from tests.unit.transports.looped_link import WAIT_S, ends
from transports import outbox
from transports.errors import Backpressure, LinkDown
from transports.identity import process_identity
from transports.link import Completed, Link, OnCallEvent
from transports.liveness import LivenessPolicy
from transports.reactor import Reactor
from transports.schemas.group import StepDone


def test_link_works_from_any_thread(reactor: Reactor) -> None:
    _, client = ends(reactor)
    calls = [[Events() for _ in range(50)] for _ in range(4)]

    def ask(mine: list[Events]) -> None:
        for number, events in enumerate(mine):
            client.link.request(step(number), events, deadline_s=WAIT_S)

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    eventually(lambda: all(events.is_over for mine in calls for events in mine))
    for mine in calls:
        assert [events.seen for events in mine] == [
            [Completed(StepDone(number, 0))] for number in range(50)
        ]


def test_command_is_sent_by_the_thread_that_gives_it_while_the_reactor_waits(
    reactor: Reactor,
) -> None:
    _, client = ends(reactor)
    box, senders = client.link._outbox, set[int]()  # type: ignore[attr-defined]
    send = box._send

    def noting(frames: Sequence[bytes]) -> bool:
        senders.add(threading.get_ident())
        return bool(send(frames))

    box._send = noting

    def sent_by_us() -> bool:
        client.link.note(step(1))
        return threading.get_ident() in senders

    eventually(sent_by_us)


def test_callbacks_run_on_the_reactors_thread_and_once_even_while_the_link_goes_down(
    reactor: Reactor,
) -> None:
    where, over = set[str](), list[int]()

    def finished(number: int) -> OnCallEvent:
        def take(event: object) -> None:
            assert isinstance(event, TERMINAL)
            where.add(threading.current_thread().name)
            over.append(number)

        return take

    numbers = itertools.count()
    for _ in range(20):
        server, client = ends(reactor)
        asked, going = list[int](), threading.Barrier(4)

        def ask(link: Link, asked: list[int], going: threading.Barrier) -> None:
            going.wait(WAIT_S)
            try:
                for _ in range(50):
                    number = next(numbers)
                    link.request(step(number), finished(number), deadline_s=WAIT_S)
                    asked.append(number)
            except LinkDown:
                return

        args = (client.link, asked, going)
        threads = [threading.Thread(target=ask, args=args) for _ in range(3)]
        for thread in threads:
            thread.start()
        going.wait(WAIT_S)
        client.link.close("enough")
        for thread in threads:
            thread.join(WAIT_S)
        eventually(lambda asked=asked: sorted(over) == sorted(asked))  # type: ignore[misc]
        eventually(lambda server=server: server.is_down)  # type: ignore[misc]
        over.clear()
    assert where <= {"reactor-test"}


def test_sender_is_told_when_the_reactor_does_not_keep_up(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "COMMANDS", 3)
    server, client = ends(reactor)
    stalled, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalled.set()
        go_on.wait(WAIT_S)

    reactor.call_soon(stall)
    assert stalled.wait(WAIT_S)
    try:
        for number in range(3):
            client.link.note(step(number))
        with pytest.raises(Backpressure):
            client.link.note(step(3))
    finally:
        go_on.set()
    eventually(lambda: len(server.notes) == 3)


def test_peer_that_does_not_read_makes_the_link_full_and_then_loses_nothing() -> None:
    sender, receiver = Reactor("sender"), Reactor("receiver")
    sender.start()
    receiver.start()
    stalled, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalled.set()
        go_on.wait(30.0)

    try:
        server, client = Recorder(), Recorder()
        listener = receiver.listen(
            "tcp://127.0.0.1:*", process_identity("a", "a"), server, liveness=CALM
        )
        sender.connect(listener.endpoint, process_identity("b", "b"), client, liveness=CALM)
        eventually(lambda: server.is_up and client.is_up)
        receiver.call_soon(stall)
        assert stalled.wait(WAIT_S)
        sent = 0

        def flood() -> bool:
            nonlocal sent
            try:
                for _ in range(100):
                    client.link.note(step(sent), raw=(bytes(20_000),))
                    sent += 1
            except Backpressure:
                return client.link._outbox.is_full is True  # type: ignore[attr-defined]
            return False

        eventually(flood)
        go_on.set()
        eventually(lambda: len(server.notes) == sent)
        assert [body for body, _ in server.notes] == [step(number) for number in range(sent)]
    finally:
        go_on.set()
        for reactor in (sender, receiver):
            reactor.stop()
            assert reactor.join(WAIT_S)


def test_own_stall_condemns_nobody() -> None:
    hasty = LivenessPolicy(ping_s=0.05, suspect_s=0.15, down_s=0.3, busy_exempt=False)
    a, b = Reactor("a"), Reactor("b")
    a.start()
    b.start()
    stall_over, still = threading.Event(), threading.Event()
    try:
        server, client = Recorder(), Recorder()
        patient = LivenessPolicy(ping_s=0.05, suspect_s=5.0, down_s=30.0, busy_exempt=False)
        listener = a.listen("tcp://127.0.0.1:*", process_identity("a", "a"), server, liveness=hasty)
        b.connect(listener.endpoint, process_identity("b", "b"), client, liveness=patient)
        eventually(lambda: server.is_up and client.is_up)

        def stall() -> None:
            still.wait(1.0)
            stall_over.set()

        a.call_soon(stall)
        assert stall_over.wait(WAIT_S)
        events = Events()
        client.link.request(step(1), events, deadline_s=WAIT_S)
        eventually(lambda: events.is_over)
        assert events.seen == [Completed(StepDone(1, 0))]
        assert not server.downs
    finally:
        for reactor in (a, b):
            reactor.stop()
            assert reactor.join(WAIT_S)
