"""The HTTP server process of a daemon: gunicorn's arbiter and its threaded workers.

    python -m cortex_actors.http.server --service gateway --daemon-endpoint ipc:///run/x/front.ipc
        --listen 127.0.0.1:31313 --metrics-listen 127.0.0.1:31314 --death-fd 7

The arbiter binds, forks and reaps; everything with a thread or a ZeroMQ context is created in the
workers, after the fork.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from gunicorn.app.base import BaseApplication

from cortex_actors.config.address import Address, parse_address
from cortex_actors.http.accept_share import AcceptShare
from cortex_actors.http.app import create_gateway_app, create_metrics_app, create_neuron_app
from cortex_actors.http.authentication import Authentication
from cortex_actors.http.death_watch import DeathWatch
from cortex_actors.http.dispatcher import Dispatcher
from cortex_actors.http.front_end_worker import FrontEndWorker
from cortex_actors.http.gunicorn_log import GunicornLog
from cortex_actors.http.key_ring import KeyRing
from cortex_actors.http.listening import RECEIVE_STALL_S, SEND_STALL_S, ListenError, listen
from cortex_actors.http.progress_watch import Deadlines
from cortex_actors.http.request_log import Environ, StartResponse, WsgiApp
from cortex_actors.http.response_store import ResponseStore, StoreLimits
from cortex_actors.http.worker_core import worker_core
from cortex_actors.serving.full_replicas import MOST_S
from neuron_runtime.exit_codes import ExitCode

if TYPE_CHECKING:
    from cortex_actors.http.request_traces import RequestTraces

_LOG = logging.getLogger("cortex.http")

_LATE_S = 5.0
KEEP_S: Final = int(MOST_S + _LATE_S)
"""How long a connection may idle. Longer than an engine asks anybody to stay away, or its client
would be back just as the connection is closed, and lose its request."""

LAST_WORDS_S: Final = 1.5
"""How much of the drain time is kept for error events and for the threads to end."""

_HANG_S: Final = 120
_OTLP_VARIABLES: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
_SERVICES: Final = {"gateway": "cortexd", "neuron": "neurond"}
_APPS: Final = {"gateway": create_gateway_app, "neuron": create_neuron_app}


@final
class FrontEndServer(BaseApplication):  # type: ignore[misc]  # gunicorn is not typed
    """One daemon's HTTP side."""

    def __init__(
        self, arguments: argparse.Namespace, sockets: list[socket.socket], watch: DeathWatch
    ) -> None:
        self._arguments = arguments
        self._fds = [sock.fileno() for sock in sockets]
        self._metrics_port = _metrics_port(arguments, sockets)
        self._watch = watch
        self._dispatcher: Dispatcher | None = None
        self._traces: RequestTraces | None = None
        self._share = AcceptShare(arguments.workers)
        super().__init__()

    def load_config(self) -> None:
        """Set everything that differs from gunicorn's defaults."""
        arguments = self._arguments
        settings = {
            "bind": [f"fd://{fd}" for fd in self._fds],
            "workers": arguments.workers,
            "threads": arguments.threads,
            "worker_class": FrontEndWorker,
            "worker_connections": 16 * arguments.threads,
            "graceful_timeout": math.ceil(arguments.drain_s),
            "timeout": _HANG_S,
            "keepalive": KEEP_S,
            "preload_app": False,
            "logger_class": GunicornLog,
            "control_socket_disable": True,
            # What a proxy tells (a scheme, a prefix) would change no answer, but could spoil one.
            "forwarded_allow_ips": "",
            "proc_name": arguments.name,
            "when_ready": self._when_ready,
            "pre_fork": self._pre_fork,
            "post_fork": self._post_fork,
            "child_exit": self._child_exit,
            "post_worker_init": self._post_worker_init,
            "worker_exit": self._worker_exit,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> WsgiApp:
        """Create the application and its links. Runs in each worker, after the fork."""
        arguments = self._arguments
        self._dispatcher = dispatcher = Dispatcher(
            arguments.daemon_endpoint,
            arguments.service,
            slots=arguments.threads - max(1, arguments.threads // 8),
            keys=arguments.api_keys is not None,
            deadlines=Deadlines(arguments.load_deadline_s, stall_s=arguments.stall_s),
            key_file=arguments.key_file,
        )
        dispatcher.start()
        self._traces = _request_traces(arguments)
        create = _APPS[arguments.service]
        app = create(
            dispatcher,
            body_limit=arguments.max_body_mb * 1024 * 1024,
            cors_origins=arguments.cors_origin,
            authentication=_authentication(arguments),
            trace=None if self._traces is None else self._traces.add,
            store=_response_store(arguments),
        )
        if self._metrics_port is None:
            return app
        return _ByPort(app, self._metrics_port, create_metrics_app(dispatcher))

    def drain(self) -> None:
        """End what runs before the arbiter's patience is over. Worker's main thread."""
        if self._dispatcher is not None:
            self._dispatcher.drain(max(0.0, self._arguments.drain_s - LAST_WORDS_S))

    def count_response(self, route: str, status: str) -> None:
        """Count a response that the server itself gave. Any thread."""
        if self._dispatcher is not None:
            self._dispatcher.count_response(route, status)

    def _when_ready(self, _arbiter: Any) -> None:
        _own_signals()
        self._watch.watch_daemon()
        _LOG.info("http service=%s listen=%s", self._arguments.service, self._arguments.listen)

    def _pre_fork(self, arbiter: Any, worker: FrontEndWorker) -> None:
        taken = {other.seat for other in arbiter.WORKERS.values()}
        free = (seat for seat in range(self._arguments.workers) if seat not in taken)
        seat = next(free, None)
        if seat is not None:
            worker.join_others(self._share, seat)

    def _child_exit(self, _arbiter: Any, worker: FrontEndWorker) -> None:
        if worker.seat is not None:
            self._share.leave(worker.seat)

    def _post_fork(self, _arbiter: Any, worker: FrontEndWorker) -> None:
        self._watch.watch_arbiter()
        if worker.seat is not None:
            _stay_on_core(worker.seat, self._arguments.workers)

    def _post_worker_init(self, _worker: Any) -> None:
        _own_signals()

    def _worker_exit(self, _arbiter: Any, _worker: Any) -> None:
        if self._dispatcher is not None:
            self._dispatcher.close()
        if self._traces is not None:
            self._traces.close()


@final
class _ByPort:
    """Serves the metrics listener with an application of its own."""

    def __init__(self, app: WsgiApp, metrics_port: str, metrics: WsgiApp) -> None:
        self._app = app
        self._metrics_port = metrics_port
        self._metrics = metrics

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # SERVER_PORT is the accepting socket's own, not what the Host header claims.
        ours = environ["SERVER_PORT"] == self._metrics_port
        return (self._metrics if ours else self._app)(environ, start_response)


def _metrics_port(arguments: argparse.Namespace, sockets: list[socket.socket]) -> str | None:
    return None if arguments.metrics_listen is None else str(sockets[-1].getsockname()[1])


def _response_store(arguments: argparse.Namespace) -> ResponseStore | None:
    if arguments.responses_file is None or not arguments.responses_max_count:
        return None
    limits = StoreLimits(
        max_count=arguments.responses_max_count,
        max_bytes=arguments.responses_max_mb * 2**20,
        max_age_s=arguments.responses_max_age_h * 3600.0,
    )
    return ResponseStore(arguments.responses_file, limits)


def _authentication(arguments: argparse.Namespace) -> Authentication | None:
    if arguments.api_keys is None:
        return None
    return Authentication(KeyRing(arguments.api_keys), required=arguments.require_api_key)


def _request_traces(arguments: argparse.Namespace) -> RequestTraces | None:
    by_environment = not _OTLP_VARIABLES.isdisjoint(os.environ)
    if arguments.otlp_endpoint is None and not by_environment:
        return None
    try:
        from cortex_actors.http.request_traces import RequestTraces  # noqa: PLC0415 - an extra
    except ImportError as ex:
        # A configured endpoint was refused by the daemon; the variables may be meant for others.
        _LOG.warning("no traces are sent: %s; pip install 'cortex[telemetry]'", ex)
        return None
    return RequestTraces(_SERVICES[arguments.service], arguments.otlp_endpoint)


def _stay_on_core(seat: int, workers: int) -> None:
    core = worker_core(seat, workers, os.sched_getaffinity(0))
    if core is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {core})


def _own_signals() -> None:
    # Ctrl-C reaches the whole process group; the daemon alone decides what follows from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as ex:
        raise argparse.ArgumentTypeError(str(ex)) from ex


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cortex_actors.http.server", description=__doc__)
    parser.add_argument("--service", choices=sorted(_APPS), required=True)
    parser.add_argument("--daemon-endpoint", required=True, metavar="ENDPOINT")
    parser.add_argument("--listen", type=_address, required=True, metavar="HOST:PORT")
    parser.add_argument("--metrics-listen", type=_address, metavar="HOST:PORT")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--max-body-mb", type=int, default=32)
    parser.add_argument("--cors-origin", action="append", default=[])
    parser.add_argument("--api-keys", type=Path, metavar="FILE")
    parser.add_argument("--require-api-key", action="store_true")
    parser.add_argument("--otlp-endpoint", metavar="URL")
    parser.add_argument("--responses-file", type=Path)
    parser.add_argument("--responses-max-count", type=int, default=10_000)
    parser.add_argument("--responses-max-mb", type=int, default=512)
    parser.add_argument("--responses-max-age-h", type=int, default=720)
    parser.add_argument("--load-deadline-s", type=float, default=1800.0)
    parser.add_argument("--stall-s", type=float, default=300.0)
    parser.add_argument("--receive-stall-s", type=float, default=RECEIVE_STALL_S)
    parser.add_argument("--send-stall-s", type=float, default=SEND_STALL_S)
    parser.add_argument("--drain-s", type=float, default=8.0)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--log-level", default="INFO", type=str.upper)
    parser.add_argument("--death-fd", type=int, required=True)
    parser.add_argument("--name", default="front_end")
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--inc", type=int, default=0)
    return parser


def main() -> None:
    """Serve until told to stop; exit with CONFIG when an address cannot be listened on."""
    arguments = _parser().parse_args()
    logging.basicConfig(
        level=arguments.log_level,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {arguments.name}[%(process)d] %(name)s %(message)s",
    )
    faulthandler.enable()
    addresses = [arguments.listen]
    if arguments.metrics_listen is not None:
        addresses.append(arguments.metrics_listen)
    try:
        stalls = (arguments.receive_stall_s, arguments.send_stall_s)
        sockets = [listen(address, *stalls) for address in addresses]
    except ListenError as ex:
        _LOG.error("%s", ex)
        sys.exit(ExitCode.CONFIG)
    watch = DeathWatch(arguments.death_fd, arguments.drain_s)
    server = FrontEndServer(arguments, sockets, watch)
    # From here on gunicorn owns the descriptors and closes them.
    for sock in sockets:
        sock.detach()
    server.run()


if __name__ == "__main__":
    main()
