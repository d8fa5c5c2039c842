"""Link round trip and step fan-out, as ratios to raw ZeroMQ measured in the same run.

``python -m tests.benchmarks.bench_link`` prints medians in microseconds. Raw and ours take turns in
short rounds, so that both see the same machine. Gates: a round trip through two reactor threads
costs at most raw ZeroMQ + 2.5 thread hand-offs (a hand-off is there and back through two queues,
as in the reference figures); a fan-out of a step to k processes at most twice raw.

Without a gate: the same round trip begun on the asking reactor's own thread, as an engine asks its
ranks, which has no thread hand-off; and the rules of both ends alone, without sockets or threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

import zmq

from transports.identity import process_identity
from transports.inproc import InprocNetwork
from transports.link import CallEvent, Identity, IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas import Body
from transports.schemas.group import SampleParams, SequenceStep, Step, StepDone

ROUNDS = 7
PER_ROUND = 700
WARM_UP = 100
STEP = Step(1, (SequenceStep(1, 40, (7,), SampleParams()),))
HEADER, BODY = bytes(48), bytes(120)
STOP = b"stop"


class Answering:
    """The answering end, and the base of the asking ones."""

    def on_up(self, link: Link) -> None:
        pass

    def on_request(self, request: IncomingRequest) -> None:
        request.complete(StepDone(1, 0))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        pass

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass


class AnsweringProcess(Answering):
    def on_down(self, link: Link, reason: str, detail: str) -> None:
        os._exit(0)


def timed(one: Callable[[], None], times: int) -> list[float]:
    """Return how long each of so many calls of ``one`` took, in microseconds."""
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        one()
        spans.append((time.perf_counter() - start) * 1e6)
    return spans


def alternate(sides: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return each side's median; they take turns."""
    spans: dict[str, list[float]] = {name: [] for name in sides}
    for one in sides.values():
        timed(one, WARM_UP)
    for _ in range(ROUNDS):
        for name, one in sides.items():
            spans[name] += timed(one, PER_ROUND)
    return {name: statistics.median(taken) for name, taken in spans.items()}


# -- raw baselines -------------------------------------------------------------------------------


def hand_off() -> Callable[[], None]:
    """There and back between two threads, through two queues."""
    there: queue.SimpleQueue[int] = queue.SimpleQueue()
    back: queue.SimpleQueue[int] = queue.SimpleQueue()

    def echo() -> None:
        while True:
            back.put(there.get())

    threading.Thread(target=echo, daemon=True).start()

    def one() -> None:
        there.put(1)
        back.get()

    return one


def raw_echo(endpoint: str) -> None:
    """Answer every message with itself, as quickly as pyzmq goes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send_multipart([b"here"])
        while True:
            frames = socket.recv_multipart()
            if frames[0] == STOP:
                return
            socket.send_multipart(frames)


class RawPeers:
    """A ROUTER and its echoing peers."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.ids: list[bytes] = []

    def await_peers(self, count: int) -> None:
        self.ids = [self.socket.recv_multipart()[0] for _ in range(count)]

    def fan_out(self) -> None:
        for peer in self.ids:
            self.socket.send_multipart([peer, HEADER, BODY])
        for _ in self.ids:
            self.socket.recv_multipart()

    def close(self) -> None:
        for peer in self.ids:
            self.socket.send_multipart([peer, STOP])
        self.socket.close(200)


# -- ours ----------------------------------------------------------------------------------------


class Asking(Answering):
    """Asks from a thread that is not the reactor's, and waits."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self._answers: queue.SimpleQueue[CallEvent] = queue.SimpleQueue()

    def on_up(self, link: Link) -> None:
        self._link = link
        self.up.set()

    def ask(self) -> None:
        self._link.request(STEP, self._answers.put, deadline_s=10.0)

    def await_answer(self) -> None:
        self._answers.get()

    def one(self) -> None:
        self._link.request(STEP, self._answers.put, deadline_s=10.0)
        self._answers.get()


class FanOut(Answering):
    """Asks all peers from the reactor's own thread, which the caller is."""

    def __init__(self, reactor: Reactor, peers: int) -> None:
        self._reactor = reactor
        self._peers = peers
        self._links: list[Link] = []
        self._open = 0

    def on_up(self, link: Link) -> None:
        self._links.append(link)

    def await_peers(self) -> None:
        while len(self._links) < self._peers:
            self._reactor.turn()

    def one(self) -> None:
        self._open = self._peers
        for link in self._links:
            link.request(STEP, self._on_event, deadline_s=10.0)
        while self._open:
            self._reactor.turn()

    def _on_event(self, _: CallEvent) -> None:
        self._open -= 1


def answer_in_process(endpoint: str, slot: int) -> None:
    """A worker: a reactor in the main thread."""
    reactor = Reactor("worker")
    me = Identity(1, slot, slot, os.getpid(), "worker", f"rank{slot}")
    reactor.connect(endpoint, me, AnsweringProcess())
    reactor.run()


# -- measurements --------------------------------------------------------------------------------


def round_trip(endpoint: str) -> dict[str, float]:
    """Between two threads of this process: raw sockets, and links through two reactor threads."""
    raw = RawPeers(endpoint.format("raw"))
    threading.Thread(target=raw_echo, args=(raw.endpoint,), daemon=True).start()
    raw.await_peers(1)
    there, here, own = Reactor("there"), Reactor("here"), Reactor("own")
    there.start()
    here.start()
    asking, asking_here = Asking(), FanOut(own, 1)
    listener = there.listen(endpoint.format("own"), process_identity("b", "there"), Answering())
    here.connect(listener.endpoint, process_identity("b", "here"), asking)
    own.connect(listener.endpoint, process_identity("b", "own"), asking_here)
    asking_here.await_peers()
    if not asking.up.wait(5.0):
        raise TimeoutError("the link did not come up")
    sides = {
        "raw": raw.fan_out,
        "hand-off": hand_off(),
        "link": asking.one,
        "own thread": asking_here.one,
        "protocol": protocol(),
    }
    try:
        return alternate(sides)
    finally:
        own.stop()
        own.run()
        here.stop()
        there.stop()
        raw.close()


def protocol() -> Callable[[], None]:
    """What both ends of a round trip compute, on one thread and without sockets."""
    network = InprocNetwork()
    asking = Asking()
    network.listen("inproc://bench", process_identity("b", "there"), Answering())
    network.connect("inproc://bench", process_identity("b", "here"), asking)
    network.run()

    def one() -> None:
        asking.ask()
        network.run()
        asking.await_answer()

    return one


def fan_out(peers: int, directory: str) -> dict[str, float]:
    """To worker processes and back: raw sockets, and links of a reactor in the calling thread."""
    spawn = multiprocessing.get_context("spawn")
    raw = RawPeers(f"ipc://{directory}/raw{peers}")
    reactor = Reactor("engine")
    ours = FanOut(reactor, peers)
    address = f"ipc://{directory}/own{peers}"
    listener = reactor.listen(address, process_identity("b", "engine"), ours)
    workers = [spawn.Process(target=raw_echo, args=(raw.endpoint,)) for _ in range(peers)]
    workers += [
        spawn.Process(target=answer_in_process, args=(listener.endpoint, slot + 1))
        for slot in range(peers)
    ]
    for worker in workers:
        worker.start()
    raw.await_peers(peers)
    ours.await_peers()
    try:
        return alternate({"raw": raw.fan_out, "link": ours.one})
    finally:
        raw.close()
        reactor.stop()
        reactor.run()
        for worker in workers:
            worker.join(5.0)


def report(name: str, medians: dict[str, float], allowed: float) -> None:
    """Print one line."""
    raw, ours = medians["raw"], medians["link"]
    verdict = "ok" if ours <= allowed else "OVER"
    print(
        f"{name:<16}{raw:>9.1f}{ours:>9.1f}{ours / raw:>8.2f}{allowed:>10.1f}"
        f"{ours / allowed:>10.2f}  {verdict}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pin", type=int, metavar="CPU", help="run everything on this processor")
    pinned = parser.parse_args().pin
    if pinned is not None:
        os.sched_setaffinity(0, {pinned})
    print(f"medians of {ROUNDS} x {PER_ROUND}, microseconds; allowed is the gate")
    print(f"{'':<16}{'raw':>9}{'link':>9}{'ratio':>8}{'allowed':>10}{'of gate':>10}")
    with tempfile.TemporaryDirectory(prefix="cx") as directory:
        for name, endpoint in (
            ("round trip ipc", f"ipc://{directory}/{{}}"),
            ("round trip tcp", "tcp://127.0.0.1:*"),
        ):
            medians = round_trip(endpoint)
            report(name, medians, medians["raw"] + 2.5 * medians["hand-off"])
            own = medians["own thread"]
            print(
                f"{'':<16}thread hand-off {medians['hand-off']:.1f}; from the reactor's own thread"
                f" {own:.1f}, {own / medians['raw']:.2f} of raw; protocol {medians['protocol']:.1f}"
            )
        for peers in (2, 4):
            medians = fan_out(peers, directory)
            report(f"fan-out k={peers}", medians, 2 * medians["raw"])


if __name__ == "__main__":
    main()
