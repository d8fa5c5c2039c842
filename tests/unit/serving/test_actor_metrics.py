"""What the runtime says of itself when it is scraped."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from cortex_actors.kit.registry import Registry
from cortex_actors.serving.actor_metrics import ActorMetrics
from cortex_actors.serving.drop_totals import DropTotals
from transports.fence import DropReason
from transports.reactor import Reactor
from transports.schemas.link import LinkDrops


def test_drops_are_counted_by_reason_for_every_kind_of_process() -> None:
    reactor, children, metrics = Reactor("test"), DropTotals(), CollectorRegistry()
    ActorMetrics(Registry(), reactor, children, "neuron").register(metrics)
    reactor.counters.count(DropReason.STALE_CORR, 0.0)
    for role in ("rank", "front_end", "rank"):
        children.add(LinkDrops(role, {"stale_corr": 2, "malformed": 1}))
    lines = generate_latest(metrics).decode().splitlines()
    reactor.stop()
    reactor.run()

    counted = [line for line in lines if line.startswith("neuron_link_drops_total")]
    for reason, role, count in (
        ("stale_corr", "daemon", 1.0),
        ("duplicate", "daemon", 0.0),
        ("stale_corr", "rank", 4.0),
        ("malformed", "rank", 2.0),
        ("stale_corr", "front_end", 2.0),
    ):
        assert f'neuron_link_drops_total{{reason="{reason}",role="{role}"}} {count}' in counted
