"""The link to our own daemon: kept open for ever, with the latest state that it pushed.

Runs on the reactor's thread, except for the properties, which any thread may read.
"""

from __future__ import annotations

import logging
from typing import final

from cortex_actors.http.response_counts import ResponseCounts
from neuron_runtime.drop_news import DropNews
from transports.errors import EndpointError, LinkDown
from transports.identity import process_identity
from transports.link import Call, IncomingRequest, Link, OnCallEvent
from transports.liveness import LivenessPolicy
from transports.news_reporter import NewsReporter
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import ServiceState
from transports.schemas.link import Failure

_LOG = logging.getLogger("cortex.http")

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 1.0
# A daemon that is stopped for a while keeps the leases of what runs: to leave it would be to give
# them back. Its end is told by the socket, and by the death pipe of our arbiter.
_LIVENESS = LivenessPolicy(ping_s=1.0, suspect_s=3.0, down_s=120.0, busy_exempt=False)


@final
class DaemonLink:
    """Reconnects with backoff; each connection is a new incarnation."""

    def __init__(
        self, reactor: Reactor, endpoint: str, name: str, responses: ResponseCounts
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._name = name
        self._link: Link | None = None
        self._silent = False
        self._service: ServiceState | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._closed = False
        drops = reactor.counters.drops
        refused = DropNews("front_end", lambda: drops)
        self._drops = NewsReporter(reactor, refused, lambda: self._link)
        self._responses = NewsReporter(reactor, responses, lambda: self._link)

    @property
    def service(self) -> ServiceState | None:
        """The latest state; it outlives the link, because a list that is old beats none."""
        return self._service

    @property
    def link(self) -> Link | None:
        """The link, while it is up."""
        return self._link

    @property
    def connected(self) -> bool:
        """Whether the daemon answers."""
        return self._link is not None and not self._silent

    def open(self) -> None:
        """Begin to connect, and to report refused messages and given responses."""
        self._drops.start()
        self._responses.start()
        self._connect()

    def close(self) -> None:
        """Leave and do not come back."""
        self._closed = True
        if self._link is not None:
            self._responses.tell()
            self._link.close("shutdown")

    def request(
        self, body: Body, on_event: OnCallEvent, *, deadline_s: float, trace: int = 0
    ) -> Call:
        """Ask the daemon.

        Raises:
            LinkDown: There is no link now.
            Backpressure: Too much is queued on it.
        """
        link = self._link
        if link is None:
            raise LinkDown("the daemon is not connected")
        return link.request(body, on_event, deadline_s=deadline_s, trace=trace)

    def on_up(self, link: Link) -> None:
        """Be ready for questions."""
        self._link = link
        self._silent = False
        self._backoff_s = FIRST_BACKOFF_S
        _LOG.debug("daemon_link state=up endpoint=%s", self._endpoint)

    def on_request(self, request: IncomingRequest) -> None:
        """Daemons ask front ends nothing."""
        request.fail(Failure("invalid_request", "a front end answers no questions"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Keep the state that was pushed."""
        del link, raw
        if isinstance(body, ServiceState):
            self._service = body
            self._silent = False

    def on_suspect(self, link: Link) -> None:
        """We are not ready without it, but wait: it pushes its state again when it goes on."""
        self._silent = True
        _LOG.warning("daemon_link state=silent peer=%s", link.peer.name)

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """Come back after a while."""
        del link
        if self._link is not None:
            _LOG.warning("daemon_link state=down reason=%s detail=%s", reason, detail)
        self._link = None
        self._retry()

    def _connect(self) -> None:
        if self._closed:
            return
        me = process_identity("front_end", self._name)
        try:
            self._reactor.connect(self._endpoint, me, self, liveness=_LIVENESS)
        except EndpointError as ex:
            _LOG.error("daemon_link endpoint=%s refused error=%s", self._endpoint, ex)
            self._retry()

    def _retry(self) -> None:
        if self._closed:
            return
        self._reactor.call_later(self._backoff_s, self._connect)
        self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)
