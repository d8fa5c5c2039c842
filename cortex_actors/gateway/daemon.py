"""cortexd's entry: what ``cortexd serve`` runs once the configuration is sound."""

from __future__ import annotations

from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.gateway.tree import GatewayTree
from cortex_actors.serving.daemon_runner import DaemonRunner
from cortex_actors.serving.runtime_dir import RuntimeDir


def run(config: GatewayConfig) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread."""
    settings = config.gateway
    directory = RuntimeDir(settings.runtime_dir, f"cortexd-{settings.listen.port}")
    runner = DaemonRunner("cortexd", directory, settings.log_level)
    return runner.run(lambda ground: GatewayTree(config, ground))
