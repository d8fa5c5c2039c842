"""Both real daemons with a model that says what a script has for each prompt."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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

NO_LIMITS = httpx.Limits(max_connections=None)
ENDLESS: dict[str, Any] = {
    "model": MODEL,
    "stream": True,
    "messages": [{"role": "user", "content": "Count"}],
}


class ScriptedStack:
    """cortexd, and neurond with the scripted backend; files are in ``directory`` (a short path)."""

    def __init__(
        self, directory: Path, rules: dict[str, str] | None = None, context: int = CONTEXT
    ) -> None:
        self._directory = directory
        gateway, metrics, http, link = free_ports(4)
        self.url = f"http://127.0.0.1:{gateway}"
        self._metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        facts = {"max_position_embeddings": context, "eos_token_id": END}
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
        for name in self._commands:
            self._start(name)
        eventually(self._ready, START_S, "the scripted stack is ready")

    def _start(self, name: str) -> None:
        with self._log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(
                (sys.executable, "-m", *self._commands[name]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
            )

    def stop(self) -> None:
        self._http.close()
        for name in ("cortexd", "neurond"):
            self._stop(name)

    def _stop(self, name: str) -> None:
        running = self._running.get(name)
        if running is None:
            return
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

    @contextmanager
    def full(self, *, until_refused: bool = False) -> Iterator[None]:
        """Take every slot with streams that nobody reads, or until someone is refused for it.

        When the context is left all is free again.
        """
        before = self.logged("status=429")
        with ExitStack() as all_, ExitStack() as held:
            all_.callback(self._await_idle)
            client = all_.enter_context(
                httpx.Client(timeout=30.0, trust_env=False, limits=NO_LIMITS)
            )
            for _ in range(SLOTS):
                answer = client.stream("POST", f"{self.url}/v1/chat/completions", json=ENDLESS)
                assert held.enter_context(answer).status_code == 200
            if until_refused:
                release = held.pop_all()

                def wait() -> None:
                    with release:
                        self.await_logged("status=429", before + 1)

                pool = all_.enter_context(ThreadPoolExecutor(1))
                all_.callback(pool.submit(wait).result)
            yield

    @contextmanager
    def without_neuron(self) -> Iterator[None]:
        """Stop the neuron; start it again, and wait for it, when the context is left."""
        self._stop("neurond")
        eventually(lambda: not self._model_is_ready(), what="the gateway knows")
        yield
        self._start("neurond")
        eventually(self._ready, START_S, "the neuron is back")

    def logged(self, words: str) -> int:
        """How many lines of the gateway's log have these words."""
        return self._log("cortexd").read_text().count(words)

    def log_line(self, words: str) -> str:
        """Return the line of the gateway's log about the request with these words."""
        self.await_logged(words, 1)
        lines = self._log("cortexd").read_text().splitlines()
        return next(line for line in lines if words in line and "request " in line)

    def await_logged(self, words: str, count: int) -> None:
        """Wait until so many lines have them."""
        eventually(lambda: self.logged(words) >= count, 30.0, f"{count} times {words}")

    def _await_idle(self) -> None:
        def idle() -> bool:
            table = httpx.get(f"{self.url}/debug/actors", timeout=5.0, trust_env=False).text
            return "leases=0 parked=0" in table

        eventually(idle, 30.0, "every lease is given back")

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _model_is_ready(self) -> bool:
        return self._model().get("status") == "ready"

    def _ready(self) -> bool:
        for name, running in self._running.items():
            if running.poll() is not None:
                log = self._log(name).read_text()
                raise AssertionError(f"{name} ended:\n{log[-3000:]}")
        return self._model_is_ready()

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
