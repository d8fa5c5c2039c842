"""The servers that ``bench_serve`` compares, each started, asked and stopped alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import yaml

from cortex_actors.cli.bench.target import Target
from cortex_actors.cli.gateway_client import GatewayClient
from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_source import ModelSource
from tests.e2e.fleet import MODEL, Fleet, free_ports
from tests.eventually import eventually
from tests.living import die_with_the_tests
from transports.clock import MonotonicClock

START_S = 300.0
STOP_S = 20.0


class Peer(ABC):
    """One server; ``target`` is known when it has been started."""

    name: str
    target: Target

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it takes requests."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    @abstractmethod
    def processes(self) -> list[psutil.Process]:
        """All its processes; none if it is not ours to look at."""

    def unload(self) -> float | None:
        """Make it cold; return the clock's time from which its cold start counts.

        None: it has no cold start that could be compared.
        """
        return None

    @contextmanager
    def turn(self) -> Iterator[Target]:
        """The time in which this server, and no other, is asked."""
        yield self.target

    def processor_s(self) -> float:
        """Processor seconds that it has used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())


class CortexStack(Peer):
    """A neuron and a gateway with one model of a catalogue; asked through the gateway."""

    name = "cortex"

    def __init__(self, directory: Path, cache_dir: Path, catalogue: Path, quant: str) -> None:
        entries = yaml.safe_load(catalogue.read_text())["models"]
        entry = next(entry for entry in entries if entry["id"] == MODEL)
        self.entry = {**entry, "quant": quant or entry.get("quant", "none")}
        self.files = ModelSource.parse(entry["source"]).locate()
        self._cache = ModelCache(cache_dir)
        self._fleet = Fleet(directory, cache_dir)
        (directory / "models.yaml").write_text(yaml.safe_dump({"models": [self.entry]}))

    def start(self) -> None:
        self._fleet.start()
        self.target = Target.parse(self._fleet.url, MODEL)

    def stop(self) -> None:
        self._fleet.stop()

    def processes(self) -> list[psutil.Process]:
        daemons = (self._fleet.neuron, self._fleet.gateway)
        return [process for daemon in daemons if daemon is not None for process in daemon.family()]

    def unload(self) -> float | None:
        """Both daemons keep running; the cold start is that of the model."""
        with GatewayClient(self._fleet.url) as gateway:
            gateway.unload(MODEL)
        return MonotonicClock().now()

    def model_directory(self) -> Path:
        """Where the converted model is, once the stack has loaded it."""
        found = self._cache.find(self.files)
        assert found is not None
        return found


class ForeignServer(Peer):
    """Another project's server: one command, one process group, frozen while others are asked."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, target: Target, env: dict[str, str]
    ) -> None:
        self.name = name
        self.target = target
        self._argv = tuple(argv)
        self._env = {**os.environ, **env}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._spawn()
        eventually(self._healthy, START_S, f"{self.name} is healthy; see {self._log}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)
        self._process = None

    def processes(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    @contextmanager
    def turn(self) -> Iterator[Target]:
        """Outside its turns it is frozen, so that it cannot take processor time."""
        self._signal(signal.SIGCONT)
        try:
            yield self.target
        finally:
            self._signal(signal.SIGSTOP)

    def _spawn(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
            )

    def _healthy(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended:\n{self._log.read_text()[-3000:]}")
        try:
            url = f"http://{self.target.host}:{self.target.port}/health"
            return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signum)


class LlamaServer(ForeignServer):
    """llama.cpp's server with the GGUF that we convert; its libraries lie beside it."""

    def __init__(self, path: Path, gguf: Path, directory: Path) -> None:
        (port,) = free_ports(1)
        argv = (str(path), "-m", str(gguf), "-t", str(os.cpu_count()), "-np", "16", "-c", "16384")
        super().__init__(
            "llama-server",
            (*argv, "--host", "127.0.0.1", "--port", str(port)),
            directory / "llama-server.log",
            Target.parse(f"http://127.0.0.1:{port}", "default"),
            {"LD_LIBRARY_PATH": str(path.parent)},
        )

    def unload(self) -> float | None:
        """The cold start is that of the process, from exec on."""
        self.stop()
        started = MonotonicClock().now()
        self.start()
        return started


class TransformersServe(ForeignServer):
    """``transformers serve`` with continuous batching, bfloat16, on the model we converted.

    It refuses fields that it does not know, ``ignore_eos`` too, but takes a generation config in
    which no token ends the answer. Its model is named by its directory. Left alone it takes 60 % of
    the host's memory for its cache, which the servers beside it need.
    """

    def __init__(self, python: Path, model: Path, directory: Path) -> None:
        (port,) = free_ports(1)
        argv = (str(python.with_name("transformers")), "serve", str(model), "--continuous-batching")
        options = ("--device", "cpu", "--dtype", "bfloat16", "--cb-max-memory-percent", "0.1")
        endless = {"eos_token_id": -1, "pad_token_id": 0, "do_sample": False}
        body = {
            "ignore_eos": None,
            "stream_options": None,
            "generation_config": json.dumps(endless),
        }
        super().__init__(
            "transformers",
            (*argv, *options, "--host", "127.0.0.1", "--port", str(port)),
            directory / "transformers.log",
            Target.parse(f"http://127.0.0.1:{port}", str(model), body=body),
            {"HF_HUB_OFFLINE": "1"},
        )


class RunningServer(Peer):
    """A server that somebody else has started."""

    def __init__(self, name: str, url: str, model: str) -> None:
        self.name = name
        self.target = Target.parse(url, model)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def processes(self) -> list[psutil.Process]:
        return []
