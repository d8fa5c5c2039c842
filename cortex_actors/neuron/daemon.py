"""neurond's entry: what ``neurond serve`` runs once the configuration is sound."""

from __future__ import annotations

from pathlib import Path

from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.neuron.tree import NeuronParts, NeuronTree
from cortex_actors.serving.daemon_runner import DaemonRunner
from cortex_actors.serving.runtime_dir import RuntimeDir
from transports.reactor import Reactor


def run(config: NeuronConfig, backend: str = "torch") -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread."""
    settings = config.neuron

    def build(reactor: Reactor, source: ProcessSource, runtime_dir: Path) -> NeuronTree:
        return NeuronTree(NeuronParts(config, reactor, source, runtime_dir, backend))

    directory = RuntimeDir(settings.runtime_dir, f"neurond-{settings.listen.port}")
    return DaemonRunner("neurond", directory, settings.log_level).run(build)
