"""The engine's link to the daemon that started it: orders in, reports out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, final

from neuron_runtime.engine.epochs import Epochs
from neuron_runtime.exit_codes import ExitCode
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.daemon import (
    EngineReady,
    GroupStart,
    MemberDown,
    SleepGroup,
    WakeGroup,
)
from transports.schemas.group import InjectFault
from transports.schemas.link import Drain, Drained, Failure

_log = logging.getLogger("cortex.engine")


class Reports:
    """What the engine tells its daemon; dropped while there is no link."""

    def __init__(self) -> None:
        self.link: Link | None = None

    def tell(self, body: Body) -> None:
        """Send a NOTE. Engine's thread only."""
        if self.link is None:
            return
        try:
            self.link.note(body)
        except TransportError as error:
            _log.warning("not reported body=%s: %s", type(body).__name__, error)


class Drainable(Protocol):
    """An engine that can come to rest."""

    def drain(self, grace_s: float, on_drained: Callable[[], None]) -> None:
        """Refuse what is new, finish what runs within ``grace_s``, end the rest with an error."""
        ...

    def resume(self) -> None:
        """Take requests again after a drain."""
        ...


@final
class DaemonLink:
    """A ``LinkHandler``. An engine without its daemon learns of no death and must not go on."""

    def __init__(
        self,
        engine: Drainable,
        epochs: Epochs,
        reports: Reports,
        endpoint: str,
        leave: Callable[[ExitCode], None],
        capabilities: tuple[str, ...] = (),
    ) -> None:
        self._engine = engine
        self._epochs = epochs
        self._reports = reports
        self._ready = EngineReady(endpoint, capabilities)
        self._leave = leave

    def on_up(self, link: Link) -> None:
        """Say where the data plane listens, and for what."""
        self._reports.link = link
        self._reports.tell(self._ready)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:  # noqa: ARG002
        """News of the group."""
        match body:
            case GroupStart():
                self._epochs.start(body)
            case SleepGroup():
                self._epochs.sleep(body)
            case WakeGroup():
                self._engine.resume()
                self._epochs.wake(body)
            case MemberDown():
                self._epochs.member_down(body)
            case InjectFault():
                self._epochs.inject(body)
            case _:
                _log.warning("daemon said %s, which is not for an engine", type(body).__name__)

    def on_request(self, request: IncomingRequest) -> None:
        """Drain is the one thing a daemon asks for."""
        body = request.body
        if isinstance(body, Drain):
            _log.info("draining grace_s=%.1f", body.grace_s)
            self._engine.drain(body.grace_s, lambda: request.complete(Drained()))
            return
        message = f"an engine does not answer its daemon's {type(body).__name__}"
        request.fail(Failure(FailureCode.INVALID_REQUEST, message))

    def on_suspect(self, link: Link) -> None:
        """A daemon that is stopped for a while is no reason to leave."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:  # noqa: ARG002
        """Leave."""
        up, self._reports.link = self._reports.link is not None, None
        level = logging.INFO if reason == "shutdown" else logging.WARNING
        _log.log(level, "daemon link down reason=%s detail=%s", reason, detail)
        if up:
            self._leave(ExitCode.OK if reason == "shutdown" else ExitCode.LINK_LOST)
        else:
            self._leave(ExitCode.PARENT_UNREACHABLE)
