"""Both real daemons, the neuron with the fake backend, and a look at all their processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.e2e.fleet import free_ports
from tests.living import alive, die_with_the_tests
from tests.soak.history import Fall, Size
from tests.soak.oracle import MODEL
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir

STOP_S = 30.0
STEP_PACE = "slow-step@inside:times=1000000000:seconds=0.005"
"""Without it the fake ranks answer so fast that no fault would find a step open."""
RESTART = {"intensity": 100_000, "period_s": 60, "backoff_s": 0.05, "max_backoff_s": 0.5}


@dataclass(frozen=True, slots=True)
class _Daemon:
    name: str
    argv: tuple[str, ...]
    log: Path


class SoakFleet:
    """A neuron with two ranks and a gateway, on free ports, restarted when they have ended.

    ``limits`` are settings of the neuron that bound what it takes at once, ``api_keys`` is the
    gateway's file of them.
    """

    def __init__(
        self,
        directory: Path,
        limits: Mapping[str, int] | None = None,
        api_keys: Path | None = None,
    ) -> None:
        self.directory = directory
        neuron, link, gateway, metrics = free_ports(4)
        self.urls = {
            "gateway": f"http://127.0.0.1:{gateway}",
            "neuron": f"http://127.0.0.1:{neuron}",
        }
        self.metrics_urls = (
            f"http://127.0.0.1:{metrics}/metrics",
            f"{self.urls['neuron']}/metrics",
        )
        self.falls: list[Fall] = []
        make_model_dir(directory / "model", words=FAKE_WORDS)
        self._write("models.yaml", _catalogue(directory / "model"))
        files = (
            self._write("neuron.yaml", _neuron(directory, neuron, link, limits or {})),
            self._write("cortex.yaml", _gateway(directory, gateway, metrics, link, api_keys)),
        )
        modules = ("tests.soak.neuron_process",), ("cortex_actors.cli.cortexd", "serve", "-c")
        self._daemons = {
            name: _Daemon(
                name, (sys.executable, "-m", *module, str(file)), directory / f"{name}.log"
            )
            for name, module, file in zip(("neurond", "cortexd"), modules, files, strict=True)
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def keep_up(self) -> None:
        """Start each daemon that does not run; one that ended by itself is noted as a fall."""
        for name, daemon in self._daemons.items():
            running = self._running.get(name)
            if running is not None and running.poll() is None:
                continue
            if running is not None and running.returncode != -signal.SIGKILL:
                self.falls.append(Fall(name, time.monotonic(), running.returncode))
            self._running[name] = _start(daemon)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All that run now, by role."""
        found: dict[str, list[psutil.Process]] = {}
        for name, running in self._running.items():
            try:
                daemon = psutil.Process(running.pid)
                family = [daemon, *daemon.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for process in alive(family):
                role = name if process.pid == running.pid else _role(process)
                found.setdefault(role, []).append(process)
        return found

    def census(self) -> dict[str, int]:
        """How many processes of each role run now."""
        return dict(Counter({role: len(group) for role, group in self.processes().items()}))

    def pids(self) -> dict[str, int]:
        """The daemons' own process ids."""
        return {name: running.pid for name, running in self._running.items()}

    def size(self, name: str) -> Size:
        """What a daemon occupies now."""
        process = psutil.Process(self._running[name].pid)
        return Size(process.num_fds(), process.num_threads())

    def stop(self) -> dict[str, int | None]:
        """End both in order and return their exit codes, None for one that had to be killed."""
        codes: dict[str, int | None] = {}
        for name in ("cortexd", "neurond"):
            running = self._running.get(name)
            if running is None:
                continue
            if running.poll() is None:
                running.terminate()
            codes[name] = _code(running)
        return codes

    def codes(self) -> dict[str, int | None]:
        """Wait until both end, and return the same as ``stop``."""
        return {name: _code(running) for name, running in self._running.items()}

    def orphans(self) -> list[psutil.Process]:
        """Processes whose command line names our directory."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or ()
            if process.pid != os.getpid() and any(f"{self.directory}/" in word for word in line):
                found.append(process)
        return alive(found)

    def ipc_files(self) -> tuple[str, ...]:
        """Local sockets that exist in the daemons' directories."""
        return tuple(str(path) for path in sorted(self.directory.rglob("*.ipc")))

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(content))
        return path


def _start(daemon: _Daemon) -> subprocess.Popen[bytes]:
    with daemon.log.open("ab") as output:
        return subprocess.Popen(
            daemon.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "CORTEX_FAULT": STEP_PACE},
            preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
        )


def _code(running: subprocess.Popen[bytes]) -> int | None:
    try:
        return running.wait(STOP_S)
    except subprocess.TimeoutExpired:
        running.kill()
        return None


def _role(process: psutil.Process) -> str:
    try:
        line = process.cmdline()
        parent = " ".join(psutil.Process(process.ppid()).cmdline())
    except psutil.NoSuchProcess:
        return "gone"
    text = " ".join(line)
    if "cortex_actors.http.server" in text:
        side = "gateway" if "--service=gateway" in line else "neuron"
        return f"{side} {'worker' if 'cortex_actors.http.server' in parent else 'arbiter'}"
    if "--name" in line:
        return line[line.index("--name") + 1].rpartition("/")[2]
    # Between fork and exec a child still looks like its parent.
    return "starting"


def _catalogue(model_dir: Path) -> dict[str, Any]:
    model = {"id": MODEL, "source": f"file://{model_dir}", "min_devices": 2, "vram_mb": 10}
    return {"models": [model]}


def _neuron(directory: Path, http: int, link: int, limits: Mapping[str, int]) -> dict[str, Any]:
    return {
        "neuron": {
            "listen": f"127.0.0.1:{http}",
            "link": f"tcp://127.0.0.1:{link}",
            "devices": "cpu:2",
            "cache_dir": str(directory / "cache"),
            "runtime_dir": str(directory),
            "load_deadline_s": 20.0,
            "drain_s": 3.0,
            "chaos": True,
            "max_running": 5,
            "log_level": "debug",
            **limits,
        },
        "restart": {"engine": RESTART, "group": RESTART},
        "default_models": [MODEL],
    }


def _gateway(
    directory: Path, http: int, metrics: int, link: int, api_keys: Path | None
) -> dict[str, Any]:
    return {
        "gateway": {
            "listen": f"127.0.0.1:{http}",
            "metrics_listen": f"127.0.0.1:{metrics}",
            "runtime_dir": str(directory),
            "api_keys": {"file": None if api_keys is None else str(api_keys)},
            "load_deadline_s": 20.0,
            "drain_s": 3.0,
            "log_level": "debug",
        },
        "neurons": [{"name": "local", "endpoint": f"tcp://127.0.0.1:{link}"}],
    }
