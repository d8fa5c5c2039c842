"""The ListenerActor: owns one bound address and its handler."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.reasons import ExitReason
from transports.curve import CurveServer
from transports.errors import EndpointError
from transports.link import Identity, LinkHandler
from transports.listener import Listener
from transports.reactor import Reactor
from transports.schemas.link import Hello

PREDECESSOR_S = 1.0
RETRY_S = 0.02

Admit = Callable[[Hello], str | None]


def admit_all(_: Hello) -> str | None:
    """Refuse nobody: the address itself (file permissions, loopback, CURVE) is the guard."""
    return None


@final
class ListenerActor(SupervisedActor):
    """Listens from its start to its end; restarted after what the handler refers to."""

    def __init__(
        self,
        reactor: Reactor,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        admit: Admit = admit_all,
        curve: CurveServer | None = None,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._endpoint = endpoint
        self._me = me
        self._handler = handler
        self._admit = admit
        self._curve = curve
        self._listener: Listener | None = None

    def on_start(self) -> None:
        """Bind the address."""
        # ZeroMQ lets go of a predecessor's address on a thread of its own, some time after close.
        give_up_at = self._reactor.now() + PREDECESSOR_S
        pause = threading.Event()
        while self._listener is None:
            try:
                self._listener = self._reactor.listen(
                    self._endpoint, self._me, self._handler, admit=self._admit, curve=self._curve
                )
            except EndpointError:
                if self._reactor.now() > give_up_at:
                    raise
                pause.wait(RETRY_S)

    def on_stop(self, reason: ExitReason) -> None:
        """Release the address; the links it accepted go with it."""
        del reason
        if self._listener is not None:
            self._listener.close()

    def summary(self) -> str:
        """The address."""
        return self._listener.endpoint if self._listener else self._endpoint
