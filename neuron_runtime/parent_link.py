"""The link of a process that only tells its daemon something, and then leaves."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, final

from neuron_runtime.child import ChildProcess
from neuron_runtime.exit_codes import ExitCode
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.parent_link")

CONNECT_S = 10.0
STOP_S = 2.0


@final
class ParentLink:
    """The link to the daemon that started us; its loss ends the process."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.down = threading.Event()
        self._link: Link | None = None
        self._leaving = False

    @classmethod
    @contextmanager
    def open(cls, child: ChildProcess, role: str) -> Iterator[Self | None]:
        """Connect, and yield the link or None if nobody answers; say goodbye afterwards."""
        link, reactor = cls(), Reactor(child.name)
        reactor.start()
        reactor.connect(child.parent, child.identity(role), link, deadline_s=CONNECT_S)
        try:
            yield link if link.up.wait(CONNECT_S) else None
        finally:
            link.leave()
            reactor.stop()
            reactor.join(STOP_S)

    def on_up(self, link: Link) -> None:
        """LinkHandler: the daemon has welcomed us."""
        self._link = link
        self.up.set()

    def on_request(self, request: IncomingRequest) -> None:
        """LinkHandler: whoever only tells answers no questions."""
        request.fail(Failure(FailureCode.INVALID_REQUEST, "this process answers no requests"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """LinkHandler: nothing is expected."""

    def on_suspect(self, link: Link) -> None:
        """LinkHandler: the daemon is silent; its end is for the death pipe to tell."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:  # noqa: ARG002
        """LinkHandler: nobody is there to hear us, so stop at once, wherever we are."""
        self.down.set()
        if self.up.is_set() and not self._leaving:
            _log.warning("link to the daemon lost reason=%s %s", reason, detail)
            os._exit(ExitCode.LINK_LOST)

    def tell(self, body: Body) -> None:
        """Send a note; without a link there is nobody to tell."""
        if self._link is None:
            return
        try:
            self._link.note(body)
        except TransportError as error:
            _log.warning("note not sent body=%s: %s", type(body).__name__, error)

    def leave(self) -> None:
        """Say goodbye; the daemon reads what we said before it, even if we are gone by then."""
        self._leaving = True
        if self._link is not None:
            self._link.close("done")
            self.down.wait(STOP_S)
