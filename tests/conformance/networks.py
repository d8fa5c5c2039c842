"""The kinds of link, behind one face: what a test does on one it does on all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.eventually import eventually
from transports.curve import CurveClient, CurveServer, generate_keypair
from transports.fence import DropReason
from transports.identity import process_identity
from transports.inproc import InprocListener, InprocNetwork
from transports.link import Identity, LinkHandler
from transports.listener import Listener
from transports.liveness import LivenessPolicy
from transports.proxy import FaultProxy, Faults
from transports.reactor import Reactor
from transports.reception import Admit, admit_all

#: Slow enough not to interfere with what a test is about.
CALM = LivenessPolicy(ping_s=5.0, suspect_s=20.0, down_s=30.0, busy_exempt=False)


def fresh_identity(name: str = "client") -> Identity:
    """An identity with a slot and an incarnation that no other connection has."""
    return process_identity("tester", name)


class Network(Protocol):
    """One listener and any number of connections to it."""

    def listen(self, handler: LinkHandler, *, admit: Admit = admit_all) -> None:
        """Start the listener."""
        ...

    def connect(self, handler: LinkHandler, me: Identity | None = None) -> Identity:
        """Start a connection."""
        ...

    def connect_nowhere(self, handler: LinkHandler) -> None:
        """Start a connection to where nobody listens."""
        ...

    def until(self, predicate: Callable[[], bool]) -> None:
        """Let things happen until ``predicate()``; fail if it does not come true."""
        ...

    def dropped(self, reason: DropReason) -> int:
        """How many messages were dropped for this reason, at either end."""
        ...

    def stop_listening(self) -> None:
        """Close the listener."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


class InprocHarness:
    """The simulated network."""

    def __init__(self) -> None:
        self.network = InprocNetwork()
        self._listener: InprocListener | None = None

    def listen(self, handler: LinkHandler, *, admit: Admit = admit_all) -> None:
        me = process_identity("listener", "server")
        self._listener = self.network.listen(
            "inproc://server", me, handler, admit=admit, liveness=CALM
        )

    def connect(self, handler: LinkHandler, me: Identity | None = None) -> Identity:
        me = me or fresh_identity()
        self.network.connect("inproc://server", me, handler, liveness=CALM)
        return me

    def connect_nowhere(self, handler: LinkHandler) -> None:
        self.network.connect("inproc://nowhere", fresh_identity(), handler)

    def until(self, predicate: Callable[[], bool]) -> None:
        for _ in range(500):
            self.network.run()
            if predicate():
                return
            self.network.advance(0.01)
        raise AssertionError("not true within five simulated seconds")

    def dropped(self, reason: DropReason) -> int:
        return self.network.counters.drops[reason]

    def stop_listening(self) -> None:
        assert self._listener is not None
        self._listener.close()

    def close(self) -> None:
        self.network.run()


class SocketHarness:
    """Two reactors in this process, with real sockets between them."""

    def __init__(
        self,
        endpoint: str,
        *,
        curve_server: CurveServer | None = None,
        curve_client: CurveClient | None = None,
        liveness: LivenessPolicy = CALM,
    ) -> None:
        self.server, self.client = Reactor("server"), Reactor("client")
        self._endpoint = endpoint
        self._curve_server, self._curve_client = curve_server, curve_client
        self._liveness = liveness
        self._listener: Listener | None = None
        self.address = ""
        self.server.start()
        self.client.start()

    def listen(self, handler: LinkHandler, *, admit: Admit = admit_all) -> None:
        self._listener = self.server.listen(
            self._endpoint,
            process_identity("listener", "server"),
            handler,
            admit=admit,
            curve=self._curve_server,
            liveness=self._liveness,
        )
        self.address = self._listener.endpoint

    def connect(self, handler: LinkHandler, me: Identity | None = None) -> Identity:
        me = me or fresh_identity()
        self.client.connect(
            self.address, me, handler, curve=self._curve_client, liveness=self._liveness
        )
        return me

    def connect_nowhere(self, handler: LinkHandler) -> None:
        self.client.connect("tcp://127.0.0.1:1", fresh_identity(), handler, deadline_s=2.0)

    def until(self, predicate: Callable[[], bool]) -> None:
        eventually(predicate)

    def dropped(self, reason: DropReason) -> int:
        return self.server.counters.drops[reason] + self.client.counters.drops[reason]

    def stop_listening(self) -> None:
        assert self._listener is not None
        self._listener.close()

    def close(self) -> None:
        for reactor in (self.client, self.server):
            reactor.stop()
        for reactor in (self.client, self.server):
            assert reactor.join(5.0), "a socket was left open"


class ProxyHarness(SocketHarness):
    """Real sockets with a seeded faulty network in between."""

    def __init__(self, seed: int, faults: Faults, liveness: LivenessPolicy = CALM) -> None:
        super().__init__("tcp://127.0.0.1:*", liveness=liveness)
        self._seed, self._faults = seed, faults
        self.proxy: FaultProxy | None = None

    def listen(self, handler: LinkHandler, *, admit: Admit = admit_all) -> None:
        super().listen(handler, admit=admit)
        self.proxy = FaultProxy(
            "tcp://127.0.0.1:*", self.address, seed=self._seed, faults=self._faults
        )
        self.address = self.proxy.endpoint

    def close(self) -> None:
        super().close()
        if self.proxy is not None:
            self.proxy.close()


def curve_harness(directory: Path) -> SocketHarness:
    """Tcp with CURVE; the client's key belongs to the name ``client``."""
    server = generate_keypair(directory, "server")
    client = generate_keypair(directory, "client")
    return SocketHarness(
        "tcp://127.0.0.1:*",
        curve_server=CurveServer(server, {client.public: "client"}),
        curve_client=CurveClient(client, server.public),
    )


#: Faults that a user of a link must not notice, but for the time they take.
INVISIBLE = Faults(duplicate=0.3, delay=0.3, delay_s=0.01)

KINDS = ("inproc", "ipc", "tcp", "curve", "proxy")


def make(kind: str, directory: Path) -> Network:
    """Return a fresh network of one of ``KINDS``."""
    match kind:
        case "inproc":
            return InprocHarness()
        case "ipc":
            return SocketHarness(f"ipc://{directory}/s")
        case "tcp":
            return SocketHarness("tcp://127.0.0.1:*")
        case "curve":
            return curve_harness(directory)
        case _:
            return ProxyHarness(20261123, INVISIBLE)
