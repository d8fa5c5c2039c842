"""A gateway in front of several neurons of this machine, each with so much memory to offer."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import yaml

from tests.e2e.fleet import SOURCE, Daemon, free_ports
from tests.eventually import eventually
from tests.living import alive

START_S = 90.0


def entry(model: str, quant: str, vram_mb: int) -> dict[str, Any]:
    """SmolLM2 under a name of its own."""
    return {"id": model, "source": SOURCE, "quant": quant, "vram_mb": vram_mb}


class WideFleet:
    """``neurons`` is the memory of each in MiB, by name; ``models`` is the catalogue.

    ``default_models`` are loaded on every neuron but those of ``bare``; ``settings`` are added to
    those of each.
    """

    def __init__(
        self,
        directory: Path,
        cache_dir: Path,
        neurons: dict[str, int],
        models: list[dict[str, Any]],
        default_models: tuple[str, ...] = (),
        bare: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        self.directory = directory
        gateway, metrics, *ports = free_ports(2 + 2 * len(neurons))
        self.url = f"http://127.0.0.1:{gateway}"
        self.metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        self._write("models.yaml", {"models": models})
        self._files: dict[str, Path] = {}
        links = {}
        for (name, memory_mb), http, link in zip(
            neurons.items(), ports[::2], ports[1::2], strict=True
        ):
            links[name] = f"tcp://127.0.0.1:{link}"
            neuron = {
                "name": name,
                "listen": f"127.0.0.1:{http}",
                "link": links[name],
                "devices": "cpu:1",
                "memory_mb": memory_mb,
                "kv_mb": 64,
                "cache_dir": str(cache_dir),
                "runtime_dir": str(directory),
                **settings,
            }
            first = [] if name in bare else list(default_models)
            content = {"neuron": neuron, "default_models": first}
            self._files[name] = self._write(f"{name}.yaml", content)
        listens = {"listen": f"127.0.0.1:{gateway}", "metrics_listen": f"127.0.0.1:{metrics}"}
        self._gateway_file = self._write(
            "cortex.yaml",
            {
                "gateway": {**listens, "runtime_dir": str(directory)},
                "neurons": [{"name": name, "endpoint": links[name]} for name in neurons],
            },
        )
        self.neurons: dict[str, Daemon] = {}
        self.gateway: Daemon | None = None
        self.http = httpx.Client(base_url=self.url, timeout=120.0, trust_env=False)
        self._clients: list[openai.OpenAI] = []

    def start(self) -> None:
        """Start all and wait until every neuron serves what it loads at start."""
        for name in self._files:
            self.start_neuron(name)
        self._start_gateway()

    def change_gateway(self, module: str) -> None:
        """Have another gateway in front of the same neurons: ``module`` is its main."""
        assert self.gateway is not None
        self.gateway.stop()
        self._start_gateway(module)

    def start_neuron(self, name: str) -> None:
        log = self.directory / f"{name}.log"
        self.neurons[name] = Daemon("neurond", self._files[name], log)

    def stop(self) -> None:
        """End all that live, and fail if anything is left."""
        daemons = [self.gateway, *self.neurons.values()]
        left: list[psutil.Process] = []
        for daemon in daemons:
            if daemon is not None and daemon.process.poll() is None:
                left += daemon.family()
        for daemon in daemons:
            if daemon is not None and daemon.process.poll() is None:
                try:
                    daemon.stop()
                except subprocess.TimeoutExpired:
                    raise AssertionError(f"{daemon.name} did not stop") from None
        self.http.close()
        for client in self._clients:
            client.close()
        eventually(lambda: not alive(left), 5.0, f"all processes are gone: {left}")

    def client(self, **options: Any) -> openai.OpenAI:
        """The official client, which retries nothing behind the test's back."""
        client = openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120.0, **options
        )
        self._clients.append(client)
        return client

    def holders(self, model: str) -> set[str]:
        """The neurons on which the model is ready, as the gateway knows them."""
        status = self.http.get("/admin/status").json()
        return {
            neuron["name"]
            for neuron in status["neurons"]
            if neuron["state"] == "up"
            for each in neuron["models"]
            if each["id"] == model and each["status"] == "ready"
        }

    def warm(self, neuron: str) -> set[str]:
        """The models that sleep there, as the gateway knows it."""
        status = self.http.get("/admin/status").json()
        (row,) = [each for each in status["neurons"] if each["name"] == neuron]
        return {each["id"] for each in row["warm"]}

    def processes(self, neuron: str, model: str) -> dict[str, psutil.Process]:
        """The model's engine and ranks on this neuron, by role."""
        found = {}
        for process in self.neurons[neuron].family():
            with suppress(psutil.NoSuchProcess):
                line = process.cmdline()
                name = line[line.index("--name") + 1] if "--name" in line else ""
                if name.startswith(f"model/{model}/"):
                    found[name.rpartition("/")[2]] = process
        return found

    def explain(self, request_id: str) -> dict[str, Any]:
        """What became of a request."""
        found: dict[str, Any] = self.http.get(f"/admin/requests/{request_id}").json()
        return found

    def _start_gateway(self, module: str = "") -> None:
        log = self.directory / "cortexd.log"
        self.gateway = Daemon("cortexd", self._gateway_file, log, module)
        eventually(self._ready, START_S, f"the fleet is ready; {self.directory}")

    def _ready(self) -> bool:
        try:
            status = self.http.get("/admin/status").json()
        except httpx.TransportError:
            return False
        rows = [neuron for neuron in status.get("neurons", ()) if neuron["state"] == "up"]
        return len(rows) == len(self._files) and all(
            all(each["status"] == "ready" for each in row["models"]) and self._has_defaults(row)
            for row in rows
        )

    def _has_defaults(self, row: dict[str, Any]) -> bool:
        content = yaml.safe_load(self._files[row["name"]].read_text())
        return {each["id"] for each in row["models"]} >= set(content["default_models"])

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(content))
        return path
