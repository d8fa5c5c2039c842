"""A gateway here, and neurons with the fake backend in outposts, behind encrypted links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psutil
import yaml

from tests.e2e.fleet import free_ports
from tests.eventually import eventually
from tests.living import alive, die_with_the_tests
from tests.partition.outpost import Outpost
from tests.soak.oracle import MODEL, Question
from tests.soak.reading import Reading
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from transports.curve import generate_keypair

NEURONS: Final = ("left", "right")
START_S, STOP_S, PATIENCE_S = 60.0, 30.0, 60.0
HTTP_PORT, LINK_PORT = 8000, 8001
STEP_PACE: Final = "slow-step@inside:times=1000000000:seconds=0.01"


class Asked(threading.Thread):
    """One stream through the gateway; ``reading`` grows while it runs."""

    def __init__(self, url: str, number: int, tokens: int) -> None:
        super().__init__(name=f"asked-{number}", daemon=True)
        self.request_id = f"asked-{number}"
        self.question = Question(f"stream {number}", tokens, None)
        self.reading = Reading()
        self._url = f"{url}/v1/chat/completions"
        self._leaves = threading.Event()
        self.start()

    def run(self) -> None:
        headers = {"x-request-id": self.request_id}
        try:
            with (
                httpx.Client(headers=headers, timeout=PATIENCE_S, trust_env=False) as http,
                http.stream("POST", self._url, json=self.question.body(stream=True)) as answer,
            ):
                self._read(answer)
        except httpx.TransportError as error:
            self.reading.cut(f"{type(error).__name__} {error}")

    def leave(self) -> None:
        """Hang up, and wait until that is done."""
        self._leaves.set()
        self.join(STOP_S)

    def _read(self, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.OK:
            self.reading.error(json.loads(answer.read()))
            return
        for line in answer.iter_lines():
            self.reading.line(line)
            if self._leaves.is_set():
                self.reading.left()
                return
        if not self.reading.ends:
            self.reading.cut("the stream ended without a word")


class DividedFleet:
    """A context. Its files are in ``directory`` (a short path); every neuron serves the model."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        gateway, metrics = free_ports(2)
        self.url = f"http://127.0.0.1:{gateway}"
        self.outposts = {name: Outpost(number) for number, name in enumerate(NEURONS)}
        self._configure(gateway, metrics)
        self._running = ExitStack()
        self._daemons: list[psutil.Process] = []
        self._http = httpx.Client(timeout=10.0, trust_env=False)
        self._numbers = iter(range(10_000))

    def __enter__(self) -> Self:
        """Start all of it and wait until every neuron serves."""
        with ExitStack() as stack:
            stack.callback(self._http.close)
            for name, outpost in self.outposts.items():
                stack.enter_context(outpost)
                neurond = (sys.executable, "-m", "tests.soak.neuron_process", self._file(name))
                stack.callback(_end, self._start(name, outpost.command(*neurond)))
            cortexd = (sys.executable, "-m", "cortex_actors.cli.cortexd", "serve", "-c")
            stack.callback(_end, self._start("cortexd", (*cortexd, self._file("cortexd"))))
            eventually(self._serves, START_S, f"the fleet serves; {self._directory}")
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        family = self.processes()
        self._running.close()
        eventually(lambda: not alive(family), STOP_S, "all processes are gone")

    def ask(self, tokens: int) -> Asked:
        """Begin to ask for so many tokens."""
        return Asked(self.url, next(self._numbers), tokens)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs now: both kinds of daemon with all below them."""
        return [each for top in self._daemons for each in (top, *top.children(recursive=True))]

    def state(self, neuron: str) -> str:
        """What the gateway thinks of a neuron: up, suspect or down."""
        rows = self._get(f"{self.url}/admin/status")["neurons"]
        return next((str(row["state"]) for row in rows if row["name"] == neuron), "unknown")

    def running(self, neuron: str) -> int:
        """How many requests the neuron itself says that it is at, whether we reach it or not."""
        door = f"http://{self.outposts[neuron].side_door}:{HTTP_PORT}"
        (model,) = self._get(f"{door}/models")["models"]
        return int(model["running"]) + int(model["waiting"])

    def leases(self) -> str:
        """What the gateway's router has given out and who waits, as it shows it."""
        rows = self._get(f"{self.url}/debug/actors")["actors"]
        return next(str(row["detail"]) for row in rows if row["name"] == "router")

    def explain(self, asked: Asked) -> dict[str, Any]:
        """What became of a request."""
        return self._get(f"{self.url}/admin/requests/{asked.request_id}")

    def complaints(self) -> list[str]:
        """What any process has logged as an error."""
        return [line for line in self._logs().splitlines() if " ERROR " in line]

    def went(self, asked: Asked) -> list[str]:
        """The neurons that a request was sent to, in order."""
        steps = self.explain(asked).get("steps", ())
        return [str(step["neuron"]) for step in steps if step["event"] == "leased"]

    def _get(self, url: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(url).json()
        return found

    def _serves(self) -> bool:
        for daemon in self._daemons:
            if daemon.status() == psutil.STATUS_ZOMBIE:
                raise AssertionError(f"a daemon ended:\n{self._logs()[-3000:]}")
        try:
            rows = self._get(f"{self.url}/admin/status")["neurons"]
        except httpx.TransportError:
            return False
        ready = [model for row in rows for model in row["models"] if model["status"] == "ready"]
        return len(ready) == len(NEURONS)

    def _logs(self) -> str:
        return "\n".join(path.read_text() for path in self._directory.glob("*.log"))

    def _start(self, name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("ab") as output:
            daemon = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
                env={**os.environ, "CORTEX_FAULT": STEP_PACE},
            )
        self._daemons.append(psutil.Process(daemon.pid))
        return daemon

    def _configure(self, gateway: int, metrics: int) -> None:
        directory = self._directory
        model = {"id": MODEL, "source": f"file://{directory}/model", "vram_mb": 10}
        make_model_dir(directory / "model", words=FAKE_WORDS)
        (directory / "models.yaml").write_text(yaml.safe_dump({"models": [model]}))
        (directory / "gateways").mkdir()
        generate_keypair(directory, "gateway")
        (directory / "gateways/gateway.key").write_bytes((directory / "gateway.key").read_bytes())
        for name, outpost in self.outposts.items():
            generate_keypair(directory, name)
            self._write(name, _neuron(directory, name, outpost))
        entries = [
            {"name": name, "endpoint": _link(outpost), "key_file": f"{name}.key"}
            for name, outpost in self.outposts.items()
        ]
        listens = {
            "listen": f"127.0.0.1:{gateway}",
            "metrics_listen": f"127.0.0.1:{metrics}",
            # A second one may come after the first already serves: processes are compared.
            "workers": 1,
            "key_file": "gateway.key_secret",
            "runtime_dir": str(directory),
        }
        self._write("cortexd", {"gateway": listens, "neurons": entries})

    def _write(self, name: str, content: dict[str, Any]) -> None:
        Path(self._file(name)).write_text(yaml.safe_dump(content))

    def _file(self, name: str) -> str:
        return str(self._directory / f"{name}.yaml")


def _neuron(directory: Path, name: str, outpost: Outpost) -> dict[str, Any]:
    return {
        "neuron": {
            "name": name,
            "listen": f"{outpost.side_door}:{HTTP_PORT}",
            "link": _link(outpost),
            "key_file": f"{name}.key_secret",
            "gateway_keys": "gateways",
            "devices": "cpu:1",
            "cache_dir": str(directory / "cache"),
            "runtime_dir": str(directory / name),
        },
        "default_models": [MODEL],
    }


def _link(outpost: Outpost) -> str:
    return f"tcp://{outpost.address}:{LINK_PORT}"


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        assert daemon.wait(STOP_S) == 0
    finally:
        daemon.kill()
