"""The reactor as an event loop; links over it are in ``tests/conformance``."""

from __future__ import annotations

import itertools
import os
import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conformance.networks import CALM
from tests.conformance.recorder import TERMINAL, Events, Recorder, step
from tests.eventually import eventually
from transports import outbox
from transports.errors import Backpressure, EndpointError, LinkDown
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import Completed, Failed, IncomingRequest, Link, LinkState, OnCallEvent
from transports.liveness import LivenessPolicy
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.group import ClearCache, StepDone

WAIT_S = 5.0


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(WAIT_S)


def settle(reactor: Reactor) -> None:
    """Wait until the reactor has done what was asked of it, and turned once more."""
    for _ in range(2):
        turned = threading.Event()
        reactor.call_soon(turned.set)
        assert turned.wait(WAIT_S)


def ends(reactor: Reactor, endpoint: str = "tcp://127.0.0.1:*") -> tuple[Recorder, Recorder]:
    """A link of a reactor to itself."""
    server, client = Recorder(), Recorder()
    listener = reactor.listen(endpoint, process_identity("a", "a"), server, liveness=CALM)
    reactor.connect(listener.endpoint, process_identity("b", "b"), client, liveness=CALM)
    eventually(lambda: server.is_up and client.is_up)
    return server, client


def test_calls_of_other_threads_run_on_its_thread(reactor: Reactor) -> None:
    done, seen = threading.Event(), list[str]()

    def run() -> None:
        seen.append(threading.current_thread().name)
        done.set()

    assert not reactor.on_thread()
    reactor.call_soon(run)
    assert done.wait(WAIT_S)
    assert seen == ["reactor-test"]


def test_many_threads_may_post_at_once(reactor: Reactor) -> None:
    seen = list[int]()

    def post() -> None:
        for number in range(500):
            reactor.call_soon(lambda number=number: seen.append(number))  # type: ignore[misc]

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    eventually(lambda: len(seen) == 2000)


def test_timers_fire_unless_cancelled(reactor: Reactor) -> None:
    fired, never = threading.Event(), threading.Event()
    reactor.call_later(0.01, never.set).cancel()
    reactor.call_later(0.02, fired.set)
    assert fired.wait(WAIT_S)
    assert not never.is_set()


def explode() -> None:
    raise RuntimeError("boom")


def test_callback_that_fails_does_not_end_the_loop(reactor: Reactor) -> None:
    done = threading.Event()
    reactor.call_soon(explode)
    reactor.call_later(0.0, explode)
    reactor.call_later(0.01, done.set)
    assert done.wait(WAIT_S)


def test_descriptor_is_watched_until_told_otherwise(reactor: Reactor) -> None:
    reading, writing = os.pipe()
    got = list[bytes]()
    reactor.watch(reading, lambda: got.append(os.read(reading, 1)))
    os.write(writing, b"a")
    eventually(lambda: got == [b"a"])
    reactor.unwatch(reading)
    settle(reactor)
    os.write(writing, b"b")
    settle(reactor)
    assert got == [b"a"]
    os.close(reading)
    os.close(writing)


class Mistaken(Recorder):
    """Raises on everything that may come over a link."""

    def on_request(self, request: IncomingRequest) -> None:
        raise RuntimeError("a mistake in a request's handler")

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        raise RuntimeError("a mistake in a note's handler")


def mistake(*_: object) -> None:
    raise RuntimeError("a mistake")


def test_the_owner_hears_of_every_callback_that_fails() -> None:
    failures, answer = queue.SimpleQueue[None](), Events()
    reactor = Reactor("strict", on_failure=lambda: failures.put(None))
    reactor.start()
    reading, writing = os.pipe()
    client = Recorder()
    listener = reactor.listen("tcp://127.0.0.1:*", process_identity("a", "a"), Mistaken())
    reactor.connect(listener.endpoint, process_identity("b", "b"), client)
    eventually(lambda: client.is_up)

    def once() -> None:
        reactor.unwatch(reading)
        mistake()

    os.write(writing, b"x")
    for cause in (
        lambda: reactor.call_soon(mistake),
        lambda: reactor.call_later(0.0, mistake),
        lambda: reactor.watch(reading, once),
        lambda: client.link.note(ClearCache()),
        lambda: client.link.request(step(1), mistake, deadline_s=WAIT_S),
    ):
        cause()
        failures.get(timeout=WAIT_S)
    # A question that its handler fails at has an answer: the failure.
    client.link.request(step(2), answer, deadline_s=WAIT_S)
    eventually(lambda: bool(answer.seen))
    (end,) = answer.seen
    assert isinstance(end, Failed)
    assert end.failure.code == FailureCode.INTERNAL
    assert failures.empty()
    reactor.stop()
    assert reactor.join(WAIT_S)
    os.close(reading)
    os.close(writing)


def test_run_in_the_calling_thread_sends_what_was_set_up_before() -> None:
    reactor = Reactor("inline")
    server, events = Recorder(), Events()

    class Asking(Recorder):
        def on_up(self, link: Link) -> None:
            super().on_up(link)
            link.request(step(1), self.finish, deadline_s=WAIT_S)

        def finish(self, event: object) -> None:
            events(event)  # type: ignore[arg-type]
            reactor.stop()

    client = Asking()
    listener = reactor.listen("tcp://127.0.0.1:*", process_identity("a", "a"), server)
    reactor.connect(listener.endpoint, process_identity("b", "b"), client)
    reactor.run()
    assert events.seen == [Completed(StepDone(1, 0))]
    assert client.link.state is server.link.state is LinkState.DOWN
    assert client.downs[0][0] in {"stopped", "listener_closed"}


def test_stopped_reactor_takes_no_more_links() -> None:
    reactor = Reactor("gone")
    reactor.start()
    reactor.stop()
    assert reactor.join(WAIT_S)
    reactor.stop()
    reactor.call_soon(lambda: None)
    with pytest.raises(LinkDown):
        reactor.listen("tcp://127.0.0.1:*", process_identity("a", "a"), Recorder())
    with pytest.raises(LinkDown):
        reactor.connect("tcp://127.0.0.1:9", process_identity("a", "a"), Recorder())


def test_stopping_leaves_no_descriptor_or_thread_behind() -> None:
    def cycle() -> None:
        reactor = Reactor("cycle")
        reactor.start()
        ends(reactor)
        reactor.stop()
        assert reactor.join(WAIT_S)

    cycle()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        cycle()
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_address_in_use_is_refused(reactor: Reactor) -> None:
    me = process_identity("a", "a")
    tcp = reactor.listen("tcp://127.0.0.1:*", me, Recorder())
    with pytest.raises(EndpointError, match="cannot listen on tcp"):
        reactor.listen(tcp.endpoint, me, Recorder())
    with tempfile.TemporaryDirectory(prefix="cx") as directory:
        ipc = f"ipc://{directory}/s"
        first = reactor.listen(ipc, me, Recorder())
        assert Path(directory, "s").stat().st_mode & 0o777 == 0o600
        with pytest.raises(EndpointError, match="in use"):
            reactor.listen(ipc, me, Recorder())
        first.close()
        eventually(lambda: not Path(directory, "s").exists())
        reactor.listen(ipc, me, Recorder()).close()


@pytest.mark.parametrize("endpoint", ["inproc://x", "nonsense", "tcp://10.255.255.255:1"])
def test_address_that_cannot_be_listened_on_is_refused(reactor: Reactor, endpoint: str) -> None:
    with pytest.raises(EndpointError):
        reactor.listen(endpoint, process_identity("a", "a"), Recorder())


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
