"""Prometheus figures of the runtime itself: actors, mailboxes, restarts, dropped messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from cortex_actors.kit.registry import Registry
from cortex_actors.serving.drop_totals import DropTotals
from transports.reactor import Reactor


@final
class ActorMetrics:
    """A collector that reads the actor table and the drop counters when scraped.

    Series of actors that are gone disappear with them.
    """

    def __init__(
        self, actors: Registry, reactor: Reactor, children: DropTotals, prefix: str
    ) -> None:
        self._actors = actors
        self._reactor = reactor
        self._children = children
        self._prefix = prefix

    def register(self, metrics: CollectorRegistry) -> None:
        """Be scraped with everything else in ``metrics``."""
        metrics.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures. Any thread."""
        prefix = self._prefix
        mailbox = GaugeMetricFamily(
            f"{prefix}_actor_mailbox", "Messages that wait, by actor.", labels=("actor",)
        )
        restarts = CounterMetricFamily(
            f"{prefix}_actor_restarts", "Restarts, by actor.", labels=("actor",)
        )
        for row in self._actors.table().rows:
            mailbox.add_metric((row.name,), row.mailbox)
            restarts.add_metric((row.name,), row.restarts)
        drops = CounterMetricFamily(
            f"{prefix}_link_drops",
            "Messages refused by the fence, by reason and by what kind of process.",
            labels=("reason", "role"),
        )
        for reason, count in self._reactor.counters.drops.items():
            drops.add_metric((str(reason), "daemon"), count)
        for (role, why), count in self._children.read().items():
            drops.add_metric((why, role), count)
        yield from (mailbox, restarts, drops)
