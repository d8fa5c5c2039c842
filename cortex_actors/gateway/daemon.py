"""cortexd's entry: what ``cortexd serve`` runs once the configuration is sound."""

from __future__ import annotations

from pathlib import Path

from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.gateway.tree import GatewayParts, GatewayTree
from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.serving.daemon_runner import DaemonRunner
from cortex_actors.serving.runtime_dir import RuntimeDir
from transports.reactor import Reactor


def run(config: GatewayConfig) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread."""
    settings = config.gateway

    def build(reactor: Reactor, source: ProcessSource, runtime_dir: Path) -> GatewayTree:
        return GatewayTree(GatewayParts(config, reactor, source, runtime_dir))

    directory = RuntimeDir(settings.runtime_dir, f"cortexd-{settings.listen.port}")
    return DaemonRunner("cortexd", directory, settings.log_level).run(build)
