"""A daemon and an engine that answer over real links what a test tells them to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas import fleet
from transports.schemas.body import Body
from transports.schemas.generate import Embed, Generate, GenerateDone, TextDelta
from transports.schemas.link import Failure

MODEL = "tiny"

Answer = Callable[[IncomingRequest], None]


class ScriptedDaemon:
    """Leases out the engine; records what is settled."""

    def __init__(self, engine_endpoint: str) -> None:
        self.engine_endpoint = engine_endpoint
        self.settled: queue.SimpleQueue[fleet.LeaseSettled] = queue.SimpleQueue()
        self.responses: queue.SimpleQueue[fleet.HttpResponses] = queue.SimpleQueue()
        self.lease_asked = threading.Event()
        self.leases = 0
        self.keep_s = 0.0
        self.links: list[Link] = []
        self.on_lease: Answer = self.grant

    def grant(self, request: IncomingRequest) -> None:
        self.leases += 1
        endpoint = self.engine_endpoint
        request.complete(fleet.Lease(self.leases, MODEL, "local", endpoint, keep_s=self.keep_s))

    def on_up(self, link: Link) -> None:
        self.links.append(link)
        model = fleet.ModelState(MODEL, "ready", neuron="local", endpoint=self.engine_endpoint)
        link.note(fleet.ServiceState("neuron", "0.1.0", True, "", 1.0, models=(model,)))

    def on_request(self, request: IncomingRequest) -> None:
        match request.body:
            case fleet.LeaseRequest(_, model) if model != MODEL:
                request.fail(Failure("model_not_found", f"no model {model!r}", param="model"))
            case fleet.LeaseRequest():
                self.lease_asked.set()
                self.on_lease(request)
            case fleet.QueryMetrics():
                request.complete(fleet.MetricsText("up 1\n", "text/plain"))
            case _:
                request.fail(Failure("invalid_request", "unknown question"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        if isinstance(body, fleet.LeasesSettled):
            for settled in body.items:
                self.settled.put(settled)
        elif isinstance(body, fleet.HttpResponses):
            self.responses.put(body)

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        if link in self.links:
            self.links.remove(link)


class ScriptedEngine:
    """Says hello; ``on_generate`` replaces that. Records cancellations."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[Generate | Embed] = queue.SimpleQueue()
        self.cancelled: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.on_generate: Answer = say_hello

    def on_up(self, link: Link) -> None:
        pass

    def on_request(self, request: IncomingRequest) -> None:
        assert isinstance(request.body, Generate | Embed)
        self.asked.put(request.body)

        def cancelled(reason: str) -> None:
            self.cancelled.put(reason)
            request.fail(Failure("cancelled", reason))

        request.on_cancel(cancelled)
        self.on_generate(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        pass

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass


def say(request: IncomingRequest, index: int, text: str) -> None:
    """Send one piece of text."""
    request.link.publish([(request, TextDelta(text, index, (index,)))])


def say_hello(request: IncomingRequest) -> None:
    """Answer with "Hello" in two pieces."""
    say(request, 0, "Hel")
    say(request, 1, "lo")
    request.complete(GenerateDone("stop", prompt_tokens=5, completion_tokens=2))


def say_nothing(request: IncomingRequest) -> None:
    """Stay silent for ever."""


class ScriptedFleet:
    """One daemon and one engine on a reactor of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Reactor("scripted-fleet")
        self.reactor.start()
        self.endpoint = f"ipc://{folder}/d"
        self.engine = ScriptedEngine()
        self._engine_listener = self.reactor.listen(
            f"ipc://{folder}/e", process_identity("engine", MODEL), self.engine
        )
        self.daemon = ScriptedDaemon(f"ipc://{folder}/e")
        self._daemon_listener = self.reactor.listen(
            self.endpoint, process_identity("daemon", "local"), self.daemon
        )

    def lose_engine_links(self) -> None:
        """Close the engine's listener and with it every link to it."""
        self._engine_listener.close()

    def close(self) -> None:
        self.reactor.stop()
        self.reactor.join(5.0)


@contextmanager
def scripted_fleet(folder: Path) -> Iterator[ScriptedFleet]:
    """Run a fleet whose sockets are in ``folder``."""
    fleet_ = ScriptedFleet(folder)
    try:
        yield fleet_
    finally:
        fleet_.close()
