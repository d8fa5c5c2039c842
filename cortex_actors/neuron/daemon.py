"""neurond's entry: what ``neurond serve`` runs once the configuration is sound."""

from __future__ import annotations

from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.neuron.tree import NeuronTree
from cortex_actors.serving.daemon_runner import DaemonRunner
from cortex_actors.serving.runtime_dir import RuntimeDir


def run(config: NeuronConfig, backend: str = "torch") -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread."""
    settings = config.neuron
    directory = RuntimeDir(settings.runtime_dir, f"neurond-{settings.listen.port}")
    runner = DaemonRunner("neurond", directory, settings.log_level)
    return runner.run(lambda ground: NeuronTree(config, ground, backend))
