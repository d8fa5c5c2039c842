"""``make run``: a neuron and a gateway on this machine, one streamed answer, until Ctrl-C.

It uses the configuration in ``conf/`` and the same commands that an operator would type.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from rich.console import Console

from cortex_actors.cli import cortexd, neurond
from cortex_actors.cli.daemon_process import DaemonProcess
from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.interrupts import Interrupts
from cortex_actors.cli.steps import Steps
from cortex_actors.cli.tables import describe_status
from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.config.loader import load_gateway_config, load_neuron_config
from cortex_actors.config.neuron_config import NeuronConfig
from transports.clock import MonotonicClock

QUESTION = "What is the capital of France? Answer in one sentence."

_START_S = 60.0
_STOP_S = 9.0
_POLL_S = 0.2
_WATCH_S = 0.5
_MAX_TOKENS = 64


@final
class DemoError(Exception):
    """The demo cannot go on; the text says why and what the culprit last said."""

    code = "demo"

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@final
class Demo:
    """The two daemons and what the newcomer sees of them. Main thread only."""

    def __init__(self, neuron: NeuronConfig, gateway: GatewayConfig, console: Console) -> None:
        self._neuron = neuron
        self._gateway = gateway
        self._console = console
        self._steps = Steps(console)
        self._clock = MonotonicClock()
        self._pause = threading.Event()
        self._logs = Path(tempfile.mkdtemp(prefix="cortex-demo-"))
        self._daemons: list[DaemonProcess] = []

    def run(self, interrupts: Interrupts, *, stay: bool) -> None:
        """Start, answer once, and with ``stay`` go on until interrupted.

        Raises:
            DemoError: A daemon died, or something did not come about in time.
        """
        with interrupts.shield():
            self._start("neurond", self._neuron.path)
            self._start("cortexd", self._gateway.path)
        self._await("Starting the neuron", self._neuron.neuron.listen.url)
        gateway_url = self._gateway.gateway.listen.url
        self._await("Starting the gateway", gateway_url)
        model = self._model()
        with GatewayClient(gateway_url) as gateway:
            self._await_model(gateway, model)
            self._answer(gateway, model)
        self._explain(gateway_url, model)
        if stay:
            self._say("Ctrl-C stops everything.")
        while stay:
            self._check_alive()
            self._pause.wait(_WATCH_S)

    def stop(self) -> None:
        """End both daemons, gateway first, within 10 s; then by force."""
        running = [daemon for daemon in reversed(self._daemons) if daemon.exit_code is None]
        deadline = self._clock.now() + _STOP_S
        for daemon in running:
            daemon.stop()
        for daemon in running:
            if not daemon.wait(deadline - self._clock.now()):
                self._say(f"{daemon.name} did not stop in {_STOP_S:.0f} s; killing it")
        self.kill()

    def kill(self) -> None:
        """End both daemons at once."""
        for daemon in self._daemons:
            daemon.kill()

    def forget_logs(self) -> None:
        """Remove the log files; for a demo that went well."""
        shutil.rmtree(self._logs, ignore_errors=True)

    def _start(self, name: str, config: Path) -> None:
        log = self._logs / f"{name}.log"
        self._daemons.append(DaemonProcess(name, serve_command(name, config), log))

    def _await(self, title: str, url: str) -> None:
        deadline = self._clock.now() + _START_S
        with self._steps.step(title) as report, GatewayClient(url) as client:
            while not client.is_alive():
                self._check_alive()
                if self._clock.now() > deadline:
                    raise DemoError(f"{url} does not answer\n{self._last_words()}")
                report(f"waiting for {url}")
                self._pause.wait(_POLL_S)

    def _await_model(self, gateway: GatewayClient, model: str) -> None:
        deadline = self._clock.now() + self._neuron.neuron.load_deadline_s
        with self._steps.step(f"Loading {model}") as report:
            while True:
                self._check_alive()
                found = _model_at(gateway, model)
                if found["status"] == "ready":
                    return
                if found["status"] == "failed" or self._clock.now() > deadline:
                    raise DemoError(
                        f"{model} did not load: {describe_status(found)}\n{self._last_words()}"
                    )
                report(describe_status(found))
                self._pause.wait(_POLL_S)

    def _answer(self, gateway: GatewayClient, model: str) -> None:
        self._say(f"\nYou: {QUESTION}\n{model}: ", end="")
        try:
            for piece in gateway.stream_chat(model, QUESTION, _MAX_TOKENS):
                self._say(piece, end="")
        except GatewayError as error:
            self._check_alive()
            raise DemoError(f"no answer: {error}\n{self._last_words()}") from error
        self._say("\n")

    def _check_alive(self) -> None:
        for daemon in self._daemons:
            code = daemon.exit_code
            if code is not None:
                raise DemoError(
                    f"{daemon.name} ended with exit code {code}\n{self._last_words()}",
                    exit_code=code if code > 0 else 1,
                )

    def _last_words(self) -> str:
        return "\n".join(f"--- {daemon.log}\n{daemon.last_lines()}" for daemon in self._daemons)

    def _model(self) -> str:
        if not self._neuron.default_models:
            raise DemoError(f"{self._neuron.path} names no default_models", os.EX_CONFIG)
        return self._neuron.default_models[0]

    def _explain(self, url: str, model: str) -> None:
        # A model as small as the demo's may never come to an end by itself.
        chat = (
            '{"model": "%s", "stream": true, "max_tokens": 100,'
            ' "messages": [{"role": "user", "content": "Hi!"}]}'
        )
        self._say(
            f"Gateway  {url}/v1   metrics {self._gateway.gateway.metrics_listen.url}/metrics\n"
            f"Neuron   {self._neuron.neuron.listen.url}\n"
            f"Logs     {self._logs}\n\n"
            "Try in another terminal:\n"
            f"  curl {url}/v1/models\n"
            f"  curl -N {url}/v1/chat/completions -H 'content-type: application/json'"
            f" -d '{chat % model}'\n"
        )

    def _say(self, text: str, end: str = "\n") -> None:
        self._console.print(text, end=end, highlight=False, markup=False, soft_wrap=True)


def serve_command(name: str, config: Path) -> tuple[str, ...]:
    """Return how an operator would start this daemon."""
    return (sys.executable, "-m", f"cortex_actors.cli.{name}", "serve", "-c", str(config))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    args = _parser().parse_args(argv)
    console = Console()
    of_neuron, of_gateway = args.conf / "neuron.yaml", args.conf / "cortex.yaml"
    checks = (
        neurond.main(["check", "-c", str(of_neuron)]),
        cortexd.main(["check", "-c", str(of_gateway)]),
    )
    if any(checks):
        return max(checks)
    neuron = load_neuron_config(of_neuron, os.environ)
    gateway = load_gateway_config(of_gateway, os.environ)
    demo = Demo(neuron, gateway, console)
    with Interrupts(kill=demo.kill) as interrupts:
        try:
            demo.run(interrupts, stay=not args.once)
        except KeyboardInterrupt:
            console.print("\nStopping …")
        except DemoError as error:
            print(f"\ndemo: {error}", file=sys.stderr)
            return error.exit_code
        finally:
            interrupts.last_call()
            demo.stop()
    demo.forget_logs()
    return 0


def _model_at(gateway: GatewayClient, model: str) -> Mapping[str, Any]:
    try:
        models = gateway.status().get("models", ())
    except GatewayError as error:
        return {"status": str(error)}
    return next((found for found in models if found["id"] == model), {"status": "unknown"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="A neuron, a gateway, one answer.")
    parser.add_argument("--conf", type=Path, default=Path("conf"), metavar="FOLDER")
    parser.add_argument("--once", action="store_true", help="stop after the answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
