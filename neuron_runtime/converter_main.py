"""Entry of the converter's process: ``python -m neuron_runtime.converter_main``.

Makes a source's files loadable and tells the daemon where they are: notes of PrepareProgress while
it works, then one note, Prepared or Failure. Converts on the main thread; the reactor has its own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import final

from neuron_runtime.child import ChildProcess
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_source import ModelSource
from transports.clock import MonotonicClock
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.daemon import Prepared, PrepareProgress
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.converter")

CONNECT_S = 10.0
STOP_S = 2.0
PROGRESS_EVERY_S = 0.2


@final
class DaemonLink:
    """The link to the daemon that started us; its loss ends the process."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.down = threading.Event()
        self._link: Link | None = None
        self._leaving = False

    def on_up(self, link: Link) -> None:
        """LinkHandler: the daemon has welcomed us."""
        self._link = link
        self.up.set()

    def on_request(self, request: IncomingRequest) -> None:
        """LinkHandler: a converter answers no questions."""
        request.fail(Failure(FailureCode.INVALID_REQUEST, "a converter answers no requests"))

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


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Prepare one source; return how that went. Main thread."""
    parser = ChildProcess.parser("Makes a model's files ready to load.")
    parser.add_argument("--source", required=True)
    parser.add_argument("--cache-dir", type=Path, required=True)
    arguments = parser.parse_args(argv)
    child = ChildProcess.begin(arguments)
    daemon, reactor = DaemonLink(), Reactor(child.name)
    reactor.start()
    reactor.connect(child.parent, child.identity("converter"), daemon, deadline_s=CONNECT_S)
    if not daemon.up.wait(CONNECT_S):
        return ExitCode.PARENT_UNREACHABLE
    outcome = _prepare(arguments.source, arguments.cache_dir, daemon)
    daemon.tell(outcome)
    daemon.leave()
    reactor.stop()
    reactor.join(STOP_S)
    return ExitCode.OK


def _prepare(source: str, cache_dir: Path, daemon: DaemonLink) -> Prepared | Failure:
    report = _Progress(daemon)
    try:
        files = ModelSource.parse(source).locate(download=True)
        files.verify()
        report(0.01, "checked")

        def convert(target: Path) -> None:
            from neuron_runtime.torch_backend.gguf_conversion import (  # noqa: PLC0415 - imports torch
                convert_gguf,
            )

            convert_gguf(files.path, target, report)

        return Prepared(str(ModelCache(cache_dir).prepare(files, convert)))
    except ModelFilesError as error:
        _log.warning("refused source=%s code=%s: %s", source, error.code, error)
        return error.failure()
    except Exception as error:  # noqa: BLE001 - whatever fails, the daemon gets an answer
        _log.exception("failed source=%s", source)
        return Failure(FailureCode.LOAD_FAILED, f"converting {source} failed: {error}")


@final
class _Progress:
    """Tells the daemon how far we are, but not more often than it can use."""

    def __init__(self, daemon: DaemonLink) -> None:
        self._daemon, self._clock = daemon, MonotonicClock()
        self._phase, self._next_at = "", 0.0

    def __call__(self, fraction: float, phase: str) -> None:
        now = self._clock.now()
        if phase != self._phase or now >= self._next_at:
            self._phase, self._next_at = phase, now + PROGRESS_EVERY_S
            self._daemon.tell(PrepareProgress(fraction, phase))


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # A native library's threads or exit handlers must not be able to hold the end up.
    os._exit(code)
