"""What a routing decision costs, and what a front-end process waits for a lease.

``python -m tests.benchmarks.bench_router`` prints percentiles. Gates: a decision's p99 is at most
1 ms with 1,000 neurons and 10,000 leases in force, half of them on a model that every neuron has;
a lease's round trip from another process, over the real link and through the real router, has a
p50 of at most 0.3 ms.
"""

from __future__ import annotations

import queue
import random
import statistics
import sys
import time
from collections.abc import Callable

from cortex_actors.cli.bench.mock_script import FAST
from cortex_actors.cli.bench.mock_stack import MockStack
from cortex_actors.serving.lease_table import Grant, LeaseTable
from cortex_actors.serving.replica_choice import ReplicaChoice
from transports.identity import process_identity
from transports.link import CallEvent, Completed, Link
from transports.reactor import Reactor
from transports.schemas import Body
from transports.schemas.fleet import (
    DeviceState,
    Lease,
    LeaseRequest,
    LeaseSettled,
    LeasesSettled,
    ModelState,
    NeuronState,
)

NEURONS, LEASES, DECISIONS = 1000, 10_000, 50_000
MODELS_EACH, OTHERS = 4, 300
ROUND_TRIPS, WARM_UP = 5000, 500
PREFIX_BLOCKS = 16
DECISION_BAR_MS, LEASE_BAR_MS = 1.0, 0.3


def fleet(draw: random.Random) -> tuple[NeuronState, ...]:
    device = DeviceState("cuda:0", "cuda", "A GPU", 80_000, 10_000)
    neurons = []
    for number in range(NEURONS):
        name = f"n{number:04}"
        ids = ["everywhere", *(f"m{draw.randrange(OTHERS)}" for _ in range(MODELS_EACH - 1))]
        models = tuple(
            ModelState(id_, "ready", name, f"tcp://10.0.0.1:{number}", capacity=16)
            for id_ in dict.fromkeys(ids)
        )
        neurons.append(NeuronState(name, 1, "0", "host", 1.0, (device,), models))
    return tuple(neurons)


def decisions_ms() -> list[float]:
    """Decide, grant and settle with the tables full; every 1,000th time the fleet has changed."""
    draw = random.Random(7)
    leases = LeaseTable()
    choice = ReplicaChoice(leases.tokens)
    neurons = fleet(draw)
    models = sorted({model.id for neuron in neurons for model in neuron.models})
    held: list[Grant] = []
    taken = []
    for number in range(LEASES + DECISIONS):
        if number % 1000 == 0:
            neurons = (*neurons[1:], neurons[0])
        model = "everywhere" if draw.random() < 0.5 else draw.choice(models)
        subject = draw.randrange(2000)
        prefix = tuple(subject * 100 + block for block in range(PREFIX_BLOCKS))
        ending = draw.randrange(len(held)) if len(held) >= LEASES else None
        began = time.perf_counter()
        choice.see(neurons)
        chosen = choice.choose(model, 500, prefix)
        assert chosen is not None
        grant = leases.grant((1, 1), "request", model, chosen.replica.neuron, 500)
        choice.changed(model, grant.neuron)
        if number >= LEASES:
            taken.append((time.perf_counter() - began) * 1e3)
        held.append(grant)
        if ending is not None:
            held[ending], held[-1] = held[-1], held[ending]
            over = held.pop()
            leases.settle((1, 1), over.lease)
            choice.changed(over.model, over.neuron)
    assert len(leases) == LEASES
    return taken


class Front:
    """A front end's end of the link."""

    def __init__(self) -> None:
        self.links: queue.SimpleQueue[Link] = queue.SimpleQueue()

    def on_up(self, link: Link) -> None:
        self.links.put(link)

    def on_request(self, request: object) -> None:
        del request

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        del link, body, raw

    def on_suspect(self, link: Link) -> None:
        del link

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        del link, reason, detail


def round_trips_ms(endpoint: str) -> list[float]:
    """Ask for leases one after another, as a request does, on the reactor's own thread."""
    reactor = Reactor("bench")
    reactor.start()
    front = Front()
    taken: list[float] = []
    done = queue.SimpleQueue[None]()
    me = process_identity("front_end", "bench")
    reactor.call_soon(lambda: reactor.connect(endpoint, me, front, deadline_s=5.0))
    link = front.links.get(timeout=10.0)

    def ask() -> None:
        began = time.perf_counter()
        link.request(LeaseRequest("bench", FAST), on_event(began), deadline_s=5.0)

    def on_event(began: float) -> Callable[[CallEvent], None]:
        def take(event: CallEvent) -> None:
            taken.append((time.perf_counter() - began) * 1e3)
            assert isinstance(event, Completed)
            assert isinstance(event.body, Lease)
            link.note(LeasesSettled((LeaseSettled(event.body.lease, "completed"),)))
            if len(taken) < ROUND_TRIPS + WARM_UP:
                ask()
            else:
                done.put(None)

        return take

    reactor.call_soon(ask)
    done.get(timeout=120.0)
    reactor.stop()
    reactor.join(5.0)
    return taken[WARM_UP:]


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def main() -> int:
    decided = decisions_ms()
    with MockStack(workers=1, threads=16) as stack:
        leased = round_trips_ms(stack.front_endpoint)
    p99, p50 = percentile(decided, 99), statistics.median(leased)
    for name, values in (("decision", decided), ("lease round trip", leased)):
        marks = "  ".join(f"p{each} {percentile(values, each):.3f}" for each in (50, 90, 99))
        print(f"{name:17} {marks}  max {max(values):.3f} ms")
    verdicts = {
        f"decision p99 <= {DECISION_BAR_MS} ms": p99 <= DECISION_BAR_MS,
        f"lease p50 <= {LEASE_BAR_MS} ms": p50 <= LEASE_BAR_MS,
    }
    for name, passed in verdicts.items():
        print(f"{'pass' if passed else 'MISS'}  {name}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
