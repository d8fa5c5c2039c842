"""Gateways of other projects before the same bare server, each started and stopped alike."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import httpx
import yaml

from cortex_actors.cli.bench.mock_script import FAST
from tests.e2e.fleet import free_ports
from tests.eventually import eventually
from tests.living import die_with_the_tests

HOST = "127.0.0.1"
START_S, STOP_S = 120.0, 10.0


class GatewayPeer(ABC):
    """One gateway, from a virtual environment of its own."""

    name: str

    def __init__(self, program: Path, upstream: str, directory: Path) -> None:
        self.program = program
        self.upstream = upstream
        self.directory = directory
        self.port, self.metrics_port = free_ports(2)

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """The command line without the program."""

    def environment(self) -> dict[str, str]:
        """Further variables."""
        return {}

    @contextmanager
    def running(self) -> Iterator[tuple[str, int]]:
        """Run it; the address takes requests from the start of the context on."""
        log = self.directory / f"{self.name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(self.program), *self.arguments()],
                env={**os.environ, **self.environment()},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_tests,  # noqa: PLW1509 - only calls prctl
            )
        try:
            eventually(self._answers, START_S, f"{self.name} answers; see {log}")
            yield HOST, self.port
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        body = {"model": FAST, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        url = f"http://{HOST}:{self.port}/v1/chat/completions"
        try:
            return httpx.post(url, json=body, timeout=5.0, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@final
class Smg(GatewayPeer):
    """smg launch."""

    name = "smg"

    def arguments(self) -> Sequence[str]:
        return (
            *("launch", "--worker-urls", self.upstream, "--policy", "round_robin"),
            *("--host", HOST, "--port", str(self.port), "--log-level", "error"),
            *("--prometheus-port", str(self.metrics_port)),
        )


@final
class VllmRouter(GatewayPeer):
    """vllm-router."""

    name = "vllm-router"

    def arguments(self) -> Sequence[str]:
        return (
            *("--worker-urls", self.upstream, "--policy", "round_robin"),
            *("--host", HOST, "--port", str(self.port)),
            *("--prometheus-port", str(self.metrics_port)),
        )


@final
class LiteLlm(GatewayPeer):
    """litellm[proxy], with as many workers as ours has."""

    name = "litellm"

    def arguments(self) -> Sequence[str]:
        parameters = {"model": f"openai/{FAST}", "api_base": f"{self.upstream}/v1", "api_key": "x"}
        models = [{"model_name": FAST, "litellm_params": parameters}]
        config = self.directory / "litellm.yaml"
        config.write_text(yaml.safe_dump({"model_list": models}))
        return (
            *("--config", str(config), "--num_workers", "2"),
            *("--host", HOST, "--port", str(self.port)),
        )

    def environment(self) -> dict[str, str]:
        return {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOG": "ERROR",
        }


PEERS: tuple[type[GatewayPeer], ...] = (Smg, VllmRouter, LiteLlm)
