"""cortexd in front of the mock neuron, and the bare server beside it, as processes of their own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

import httpx

from cortex_actors.cli.bench.mock_script import FAST, MODELS
from cortex_actors.cli.bench.process_tree import resident_bytes
from cortex_actors.cli.gateway_error import GatewayError

HOST: Final = "127.0.0.1"
_START_S, _STOP_S, _POLL_S = 30.0, 15.0, 0.05


@final
class MockStack:
    """All processes run as long as the context lasts.

    Args:
        workers: Front-end processes of the gateway.
        threads: Of each of them.
        neurons: How many mock neurons there are, which say the same.
    """

    def __init__(self, workers: int, threads: int, neurons: int = 1) -> None:
        self._workers = workers
        self._threads = threads
        self._names = [f"mock{number}" for number in range(neurons)]
        self.neurons: dict[str, subprocess.Popen[bytes]] = {}
        self._running = ExitStack()
        self._gateway: subprocess.Popen[bytes] | None = None
        self.gateway_port, self.bare_port = 0, 0
        self.front_endpoint = ""

    def __enter__(self) -> Self:
        """Start all of it.

        Raises:
            GatewayError: A process ended or did not become ready in time.
        """
        with self._running:
            # Short: an ipc path has at most 100 bytes.
            folder = self._running.enter_context(tempfile.TemporaryDirectory(prefix="cx-"))
            directory = Path(folder)
            ports = _free_ports(3 + 2 * len(self._names))
            self.gateway_port, self.bare_port, metrics = ports[:3]
            endpoints = [f"tcp://{HOST}:{port}" for port in ports[3:]]
            links = dict(zip(self._names, endpoints[::2], strict=True))
            _write(directory, "models.yaml", _catalogue())
            config = _write(directory, "cortex.yaml", self._config(folder, metrics, links))
            self.front_endpoint = f"ipc://{folder}/cortexd-{self.gateway_port}/front.ipc"
            self._spawn("cortex_actors.cli.bench.mock_http", "--port", str(self.bare_port))
            mock = "cortex_actors.cli.bench.mock_neuron"
            for (name, link), engine in zip(links.items(), endpoints[1::2], strict=True):
                self.neurons[name] = self._spawn(mock, "--link", link, "--engine", engine)
            self._gateway = self._spawn("cortex_actors.cli.cortexd", "serve", "-c", str(config))
            self._await_ready(f"http://{HOST}:{self.gateway_port}", self._gateway)
            self._running = self._running.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def resident_bytes(self) -> int:
        """What all processes of the gateway keep in memory now."""
        return 0 if self._gateway is None else resident_bytes(self._gateway.pid)

    def _config(self, folder: str, metrics: int, links: dict[str, str]) -> dict[str, object]:
        return {
            "gateway": {
                "listen": f"{HOST}:{self.gateway_port}",
                "metrics_listen": f"{HOST}:{metrics}",
                "workers": self._workers,
                "threads": self._threads,
                "runtime_dir": folder,
                "log_level": "warning",
            },
            "neurons": [{"name": name, "endpoint": link} for name, link in links.items()],
        }

    def _spawn(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            (sys.executable, "-m", module, *arguments),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._running.callback(_stop, process)
        return process

    def _await_ready(self, url: str, gateway: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + _START_S
        while not _serves(url):
            if gateway.poll() is not None:
                raise GatewayError(f"cortexd ended with code {gateway.returncode}")
            if time.monotonic() > give_up_at:
                raise GatewayError("cortexd did not become ready")
            time.sleep(_POLL_S)


def _serves(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/v1/models/{FAST}", timeout=_START_S, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK and answer.json().get("status") == "ready"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _catalogue() -> dict[str, object]:
    return {"models": [{"id": name, "source": "file:///nowhere", "vram_mb": 1} for name in MODELS]}


def _write(directory: Path, name: str, content: dict[str, object]) -> Path:
    # JSON is YAML.
    path = directory / name
    path.write_text(json.dumps(content))
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
