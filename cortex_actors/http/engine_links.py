"""Links to engines, by data-plane address: opened when first needed, forgotten when lost.

Everything here runs on the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from transports.curve import CurveClient, CurveKeys
from transports.errors import KeyFileError, TransportError
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.link import Failure

CONNECT_DEADLINE_S = 5.0

OnLink = Callable[[Link], None]
OnNoLink = Callable[[str, str], None]


@final
class EngineLinks:
    """At most one link per engine; requests that come while it connects wait for it.

    ``on_lost`` is told the address of each that is down or could not be reached.
    """

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        keys: CurveKeys | None = None,
        *,
        on_lost: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._keys = keys
        self._on_lost = on_lost
        self._links: dict[str, _EngineLink] = {}

    def use(self, endpoint: str, server_key: str, then: OnLink, otherwise: OnNoLink) -> None:
        """Call ``then(link)`` as soon as there is a link, or ``otherwise(reason, detail)``.

        ``server_key`` is the key that the engine must prove to have; empty for a plain link.
        """
        engine = self._links.get(endpoint)
        if engine is not None:
            engine.use(then, otherwise)
            return
        engine = _EngineLink(on_down=lambda: self._forget(endpoint))
        engine.use(then, otherwise)
        self._links[endpoint] = engine
        me = process_identity("front_end", self._name)
        try:
            self._reactor.connect(
                endpoint,
                me,
                engine,
                deadline_s=CONNECT_DEADLINE_S,
                curve=self._curve(server_key),
            )
        except TransportError as ex:
            engine.give_up(ex.code, str(ex))

    def _forget(self, endpoint: str) -> None:
        self._links.pop(endpoint, None)
        self._on_lost(endpoint)

    def _curve(self, server_key: str) -> CurveClient | None:
        if not server_key:
            return None
        if self._keys is None:
            raise KeyFileError("the engine wants CURVE and this front end has no key file")
        return CurveClient(self._keys, server_key.encode())

    def close(self) -> None:
        """Close every link."""
        for engine in list(self._links.values()):
            engine.close()


@final
class _EngineLink:
    def __init__(self, on_down: Callable[[], object]) -> None:
        self._forget = on_down
        self._link: Link | None = None
        self._waiting: list[tuple[OnLink, OnNoLink]] = []

    def use(self, then: OnLink, otherwise: OnNoLink) -> None:
        if self._link is None:
            self._waiting.append((then, otherwise))
        else:
            then(self._link)

    def give_up(self, reason: str, detail: str) -> None:
        self._forget()
        waiting, self._waiting = self._waiting, []
        for _, otherwise in waiting:
            otherwise(reason, detail)

    def close(self) -> None:
        if self._link is not None:
            self._link.close("shutdown")

    def on_up(self, link: Link) -> None:
        self._link = link
        waiting, self._waiting = self._waiting, []
        for then, _ in waiting:
            then(link)

    def on_request(self, request: IncomingRequest) -> None:
        request.fail(Failure("invalid_request", "a front end answers no questions"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Engines have nothing to tell a front end unasked."""

    def on_suspect(self, link: Link) -> None:
        """Requests on a suspect link fail at once, so nothing need be remembered here."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        del link
        self.give_up(reason, detail)
