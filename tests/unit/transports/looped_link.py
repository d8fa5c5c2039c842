"""A link whose two ends are of one reactor."""

from __future__ import annotations

from tests.conformance.networks import CALM
from tests.conformance.recorder import Recorder
from tests.eventually import eventually
from transports.identity import process_identity
from transports.reactor import Reactor

WAIT_S = 5.0


def ends(reactor: Reactor, endpoint: str = "tcp://127.0.0.1:*") -> tuple[Recorder, Recorder]:
    """A link of a reactor to itself."""
    server, client = Recorder(), Recorder()
    listener = reactor.listen(endpoint, process_identity("a", "a"), server, liveness=CALM)
    reactor.connect(listener.endpoint, process_identity("b", "b"), client, liveness=CALM)
    eventually(lambda: server.is_up and client.is_up)
    return server, client
