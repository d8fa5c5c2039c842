"""Both real daemons with a model that says what a script has for each prompt."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.clients.scripts import RULES, TEMPLATE, script
from tests.e2e.fleet import free_ports
from tests.eventually import eventually
from tests.living import die_with_the_tests
from tests.unit.engine.tiny_model import END, make_model_dir

MODEL = "scripted"
CONTEXT = 16384
SLOTS = 14
"""How many generations the gateway's one front-end worker takes at once."""
START_S, STOP_S = 60.0, 20.0


class ScriptedStack:
    """cortexd, and neurond with the scripted backend; files are in ``directory`` (a short path)."""

    def __init__(self, directory: Path, rules: dict[str, str] | None = None) -> None:
        self._directory = directory
        gateway, metrics, http, link = free_ports(4)
        self.url = f"http://127.0.0.1:{gateway}"
        self._metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        facts = {"max_position_embeddings": CONTEXT, "eos_token_id": END}
        model = make_model_dir(directory / "model", template=TEMPLATE, config=facts)
        (model / "script.json").write_text(script(RULES if rules is None else rules))
        self._write(
            "models.yaml",
            {
                "models": [
                    {"id": MODEL, "source": f"file://{model}", "vram_mb": 10},
                    {"id": "absent", "source": f"file://{directory}/absent", "vram_mb": 10},
                ],
                "aliases": {"gpt-4o-mini": MODEL, "claude-sonnet-4-5": MODEL},
            },
        )
        neuron = {
            "listen": f"127.0.0.1:{http}",
            "link": f"tcp://127.0.0.1:{link}",
            "devices": "cpu:1",
            "cache_dir": str(directory / "cache"),
            "runtime_dir": str(directory),
        }
        listens = {
            "listen": f"127.0.0.1:{gateway}",
            "metrics_listen": f"127.0.0.1:{metrics}",
            "runtime_dir": str(directory),
            "workers": 1,
            "threads": SLOTS + 2,
        }
        neurons = [{"name": "local", "endpoint": f"tcp://127.0.0.1:{link}"}]
        self._commands = {
            "neurond": (
                "tests.clients.neuron_process",
                self._write("neuron.yaml", {"neuron": neuron, "default_models": [MODEL]}),
            ),
            "cortexd": (
                "cortex_actors.cli.cortexd",
                "serve",
                "-c",
                self._write("cortex.yaml", {"gateway": listens, "neurons": neurons}),
            ),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(timeout=5.0, trust_env=False)

    def start(self) -> None:
        """Start both and wait until the model is served."""
        for name, command in self._commands.items():
            with (self._directory / f"{name}.log").open("ab") as output:
                self._running[name] = subprocess.Popen(
                    (sys.executable, "-m", *command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
                )
        eventually(self._ready, START_S, "the scripted stack is ready")

    def stop(self) -> None:
        self._http.close()
        for name in ("cortexd", "neurond"):
            running = self._running.get(name)
            if running is None:
                continue
            running.terminate()
            try:
                running.wait(STOP_S)
            except subprocess.TimeoutExpired:
                running.kill()
                raise

    def cancelled(self) -> int:
        """How many generations the engine has given up and said so."""
        text = self._http.get(self._metrics_url).text
        counts = re.findall(r'^cortex_requests_total{.*outcome="cancelled".*} (.+)$', text, re.M)
        return int(sum(map(float, counts)))

    @contextmanager
    def one_cancelled(self) -> Iterator[None]:
        """Check that what is done in the context makes the engine give up one generation."""
        before = self.cancelled()
        yield
        eventually(lambda: self.cancelled() == before + 1, what="the engine gave it up")

    def _ready(self) -> bool:
        for name, running in self._running.items():
            if running.poll() is not None:
                log = (self._directory / f"{name}.log").read_text()
                raise AssertionError(f"{name} ended:\n{log[-3000:]}")
        return self._model().get("status") == "ready"

    def _model(self) -> dict[str, Any]:
        try:
            answer = self._http.get(f"{self.url}/v1/models/{MODEL}")
        except httpx.TransportError:
            return {}
        model: dict[str, Any] = answer.json()
        return model

    def _write(self, name: str, content: dict[str, Any]) -> str:
        path = self._directory / name
        path.write_text(yaml.safe_dump(content))
        return str(path)
