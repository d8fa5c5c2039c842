"""The reactor as an event loop; links over it are in ``tests/conformance``."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from pathlib import Path

import pytest
import zmq

from tests.conformance.recorder import Events, Recorder, step
from tests.eventually import eventually
from tests.unit.transports.looped_link import WAIT_S, ends
from transports.errors import EndpointError, LinkDown
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import Completed, Failed, IncomingRequest, Link, LinkState
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.group import ClearCache, StepDone
from transports.schemas.link import Failure


def settle(reactor: Reactor) -> None:
    """Wait until the reactor has done what was asked of it, and turned once more."""
    for _ in range(2):
        turned = threading.Event()
        reactor.call_soon(turned.set)
        assert turned.wait(WAIT_S)


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


def test_an_answer_that_the_wire_cannot_hold_is_a_failure(reactor: Reactor) -> None:
    server, client = ends(reactor)
    # As the name of a file may have it that is not UTF-8.
    server.answer = lambda request: request.fail(Failure("x", "caf\udce9"))
    events = Events()
    client.link.request(ClearCache(), events, deadline_s=WAIT_S)
    eventually(lambda: events.is_over)

    (failed,) = events.seen
    assert isinstance(failed, Failed)
    assert failed.failure.code == FailureCode.INTERNAL
    assert "not sendable" in failed.failure.message


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


@pytest.mark.parametrize("sockets", [1, 2])
def test_a_connection_that_lacks_a_socket_is_told_and_leaves_none_behind(
    reactor: Reactor, sockets: int
) -> None:
    server = Recorder()
    listener = reactor.listen("tcp://127.0.0.1:*", process_identity("a", "a"), server)
    poor = Reactor("poor")
    poor.context.set(zmq.MAX_SOCKETS, sockets)
    poor.start()
    for _ in range(3):
        client = Recorder()
        poor.connect(listener.endpoint, process_identity("b", "b"), client)
        eventually(lambda client=client: client.is_down)  # type: ignore[misc]
        assert client.downs[0][0] == "connect_failed"
        assert "Too many open files" in client.downs[0][1]
    poor.stop()
    assert poor.join(WAIT_S)
    # One that was left open would keep it from that.
    assert poor.context.closed


@pytest.mark.parametrize("sockets", [1, 2])
def test_an_address_for_which_there_is_no_socket_is_refused(sockets: int) -> None:
    poor = Reactor("poor")
    poor.context.set(zmq.MAX_SOCKETS, sockets)
    poor.start()
    for _ in range(3):
        with pytest.raises(EndpointError, match="Too many open files"):
            poor.listen("tcp://127.0.0.1:*", process_identity("a", "a"), Recorder())
    poor.stop()
    assert poor.join(WAIT_S)
    # One that was left open would keep it from that.
    assert poor.context.closed


def test_a_reactor_may_have_thousands_of_links(reactor: Reactor) -> None:
    assert reactor.context.get(zmq.MAX_SOCKETS) >= 3 * 5000


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
