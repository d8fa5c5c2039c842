"""How an engine that cannot serve its model tells its daemon why, before it leaves."""

from __future__ import annotations

import logging
from typing import final

from neuron_runtime.child import ChildProcess
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

CONNECT_S = 5.0


@final
class RefusalNote:
    """A ``LinkHandler`` that says one thing and goes."""

    def __init__(self, reactor: Reactor, failure: Failure) -> None:
        self._reactor = reactor
        self._failure = failure

    @classmethod
    def send(cls, child: ChildProcess, why: str) -> None:
        """Tell ``why``, unless the daemon cannot be reached; returns when that is done."""
        reactor = Reactor(child.name)
        note = cls(reactor, Failure(FailureCode.LOAD_FAILED, why))
        reactor.connect(child.parent, child.identity("engine"), note, deadline_s=CONNECT_S)
        reactor.run()

    def on_up(self, link: Link) -> None:
        """LinkHandler: say it; the daemon reads that before the farewell, whenever it reads."""
        try:
            link.note(self._failure)
        except TransportError as error:
            _log.warning("the daemon was not told why: %s", error)
        link.close("done")

    def on_down(self, link: Link, reason: str, detail: str) -> None:  # noqa: ARG002
        """LinkHandler: there is nothing more to say."""
        self._reactor.stop()

    def on_request(self, request: IncomingRequest) -> None:
        """LinkHandler: this engine does nothing."""
        request.fail(self._failure)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """LinkHandler: nor does it heed anything."""

    def on_suspect(self, link: Link) -> None:
        """LinkHandler: it does not stay so long."""
