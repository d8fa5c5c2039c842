"""docs/metrics.md says what is scraped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.kit.registry import Registry
from cortex_actors.serving.actor_metrics import ActorMetrics
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.fleet_metrics import FleetMetrics
from cortex_actors.serving.http_metrics import HttpMetrics
from cortex_actors.serving.lease_table import Grant
from cortex_actors.serving.request_metrics import RequestMetrics
from tests.document_tables import rows
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import Recorder, model_state, neuron_state
from transports.reactor import Reactor
from transports.schemas.fleet import HttpResponses, LeaseSettled, ModelRecord
from transports.schemas.link import LinkDrops
from transports.schemas.text_gaps import TextGaps

DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"
Described = tuple[str, frozenset[str]]
"""Type and labels of one metric."""


def documented() -> dict[str, Described]:
    found = {}
    for name, (type_, labels, meaning) in rows(DOCUMENT.read_text()).items():
        assert meaning
        found[name] = (type_, frozenset(labels.split(", ")))
    return found


def exposed(registry: CollectorRegistry) -> dict[str, Described]:
    found = {}
    for metric in registry.collect():
        labels = frozenset(label for sample in metric.samples for label in sample.labels)
        name = metric.name + "_total" * (metric.type == "counter")
        found[name] = (metric.type, labels - {"le"})
    return found


@pytest.fixture
def registry(start: Start) -> Iterator[CollectorRegistry]:
    """Everything that a gateway tells, with at least one series of each."""
    registry, actors, reactor = CollectorRegistry(), Registry(), Reactor("test")
    actors.register(start(Recorder))
    drops = DropTotals()
    drops.add(LinkDrops("rank", {"malformed": 1}))
    requests = RequestMetrics(registry)
    grant = Grant(1, (1, 1), "id", "m", "n1")
    whole = LeaseSettled(
        1,
        "completed",
        3,
        3,
        first_token_s=1.0,
        duration_s=1.0,
        decode_s=1.0,
        cancel_s=1.0,
        gaps=TextGaps((0,) * 14, 0.0),
    )
    requests.settled(grant, whole)
    requests.settled(grant, LeaseSettled(2, "link_lost", last=False))
    HttpMetrics(registry).add(HttpResponses({"/v1/models": {"200": 1}}))
    placement = PlacementMetrics(registry)
    placement.loaded("m", "ready", 1.0)
    placement.unloads("m", "n1", "room")
    placement.jobs({"queued": 1})
    requests.load.see({"m": 1}, {("m", "n1"): 2})
    sleeper = ModelRecord("sleeper", warm=True, weights_mb=1)
    neuron = neuron_state("n1", model_state("m"))
    fleet = (msgspec.structs.replace(neuron, records=(sleeper,), warm_mb=1),)
    FleetMetrics(lambda: fleet, "cortex").register(registry)
    ActorMetrics(actors, reactor, drops, "cortex").register(registry)
    yield registry
    reactor.stop()
    reactor.run()


def test_names_types_and_labels_are_those_that_are_scraped(registry: CollectorRegistry) -> None:
    told = {name.replace("*", "cortex"): each for name, each in documented().items()}
    assert told == exposed(registry)
