"""One schedule from its beginning to the point where everyone has been served."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from zlib import crc32

from cortex_actors.kit.actor import SupervisedActor
from tests.simulation.front_end import Client, FrontEnd
from tests.simulation.gateway import Gateway
from tests.simulation.nemesis import SLOWNESS, Nemesis
from tests.simulation.network import Network
from tests.simulation.neuron import Neuron
from tests.simulation.schedule import LONGEST_LOAD_S, RequestPlan, Schedule
from tests.simulation.stage import staged
from tests.simulation.watch import Watch
from tests.simulation.world import Broken, Host, World
from transports.schemas.generate import GenerateDone
from transports.schemas.link import Failure

SERVED_WITHIN_S = 150.0
"""After the last fault: long enough for a load to be given up on, tried elsewhere, and queued
behind others."""
AGAIN_S = 1.0
LAST = "last-"
SETTLED_S = SLOWNESS * LONGEST_LOAD_S + 2.0
"""Longer than a load takes on a slow host: one that another neuron has overtaken goes on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a schedule came to, for figures and for comparing two runs."""

    events: int
    seconds: float
    done: int
    failed: int
    fingerprint: int


class Simulation:
    """Everything that lives in one world."""

    def __init__(self, schedule: Schedule, tell: Callable[[str], None] | None = None) -> None:
        self.schedule = schedule
        self.world = World(schedule.seed, tell)
        self.network = Network(self.world)
        self.neurons: dict[str, Neuron] = {}
        self.front_ends: dict[str, FrontEnd] = {}
        self.gateway: Gateway
        self.clients: list[Client] = []
        self._actors: dict[tuple[Host, str], SupervisedActor] = {}
        self._unserved: set[str] = set()
        self._fingerprint = 0

    def run(self) -> Outcome:
        """Let it all happen.

        Raises:
            Broken: A property does not hold.
        """
        with ExitStack() as stack:
            stack.enter_context(staged(self.world, self._actors))
            stack.enter_context(Watch(self.world, lambda: self.gateway).looking())
            self._begin()
            self.world.run_until(self.schedule.quiet_s)
            self._ask_for_everything()
            self.world.run_until(self.schedule.quiet_s + SERVED_WITHIN_S, self._is_served)
            if not self._is_served():
                raise Broken(f"never served, though nothing went wrong: {self._waiting()}")
            self._settle()
        ends = [client.end for client in self.clients]
        return Outcome(
            self.world.events,
            self.world.now(),
            sum(isinstance(end, GenerateDone) for end in ends),
            sum(isinstance(end, Failure) for end in ends),
            self._fingerprint,
        )

    # -- faults ---------------------------------------------------------------------------------

    def kill_front_end(self, name: str) -> None:
        """End one process of the front end."""
        self.network.kill(self.front_ends[name].host)

    def restart_front_end(self, name: str) -> None:
        """Start it again, unless the gateway is not there either."""
        if self.gateway.host.alive and not self.front_ends[name].host.alive:
            self.front_ends[name] = FrontEnd(self.world, self.network, name)

    def kill_gateway(self) -> None:
        """End the brain and, as its death pipes see to, the front end."""
        for host in (self.gateway.host, *(each.host for each in self.front_ends.values())):
            if host.alive:
                self.network.kill(host)

    def restart_gateway(self) -> None:
        """Start all of it again."""
        self._start_gateway()

    # -- the course of it -----------------------------------------------------------------------

    def _begin(self) -> None:
        schedule, world = self.schedule, self.world
        for plan in schedule.neurons:
            self.neurons[plan.name] = Neuron(world, self.network, plan, schedule.catalogue)
        self._start_gateway()
        nemesis = Nemesis(self)
        for fault in schedule.faults:
            nemesis.plan(fault)
        for number, request in enumerate(schedule.requests):
            world.later(request.at, partial(self._ask, f"r{number}", request))
        for pinning in schedule.pinnings:
            world.later(pinning.at, partial(self._pin, pinning.model, True))
            world.later(pinning.until, partial(self._pin, pinning.model, False))

    def _start_gateway(self) -> None:
        endpoints = {name: each.endpoint for name, each in self.neurons.items()}
        self.gateway = Gateway(self.world, self.network, self.schedule, endpoints, self._actors)
        for number in range(self.schedule.front_ends):
            name = f"f{number}"
            self.front_ends[name] = FrontEnd(self.world, self.network, name)

    def _pin(self, model: str, pinned: bool) -> None:
        if self.gateway.host.alive:
            self.gateway.pin(model, pinned=pinned)

    def _ask(self, request_id: str, plan: RequestPlan) -> None:
        front_end = self.front_ends[f"f{plan.front_end}"]
        if not front_end.host.alive:
            return
        client = self._client(front_end, request_id, plan.model, plan.tokens, plan.wait_s)
        if plan.leaves_after_s is not None:
            with self.world.inside(front_end.host):
                self.world.later(plan.leaves_after_s, client.leave)

    def _client(
        self, front_end: FrontEnd, request_id: str, model: str, tokens: int, wait_s: float
    ) -> Client:
        client = Client(self.world, front_end, request_id, model, tokens, self._ended, wait_s)
        self.clients.append(client)
        return client

    def _ended(self, client: Client) -> None:
        ended = (client.request_id, client.end, self.world.now())
        self._fingerprint = crc32(repr(ended).encode(), self._fingerprint)
        if not client.request_id.startswith(LAST):
            return
        if isinstance(client.end, Failure) and not self._must_yield(client.model, client.end):
            pause_s = client.end.retry_after_s or AGAIN_S
            self.world.later(pause_s, partial(self._insist, client.model), self.world.nowhere)
        else:
            self._unserved.discard(client.model)

    def _must_yield(self, model: str, failure: Failure) -> bool:
        """Whether it is refused because there are models that it must not displace."""
        classes = {each.id: each.residency_priority for each in self.schedule.catalogue.models}
        lower = classes[model] < max(classes.values())
        return lower and failure.message.startswith("there is no room for")

    # -- afterwards -----------------------------------------------------------------------------

    def _ask_for_everything(self) -> None:
        """Nothing goes wrong any more: whatever can be served is, to whoever keeps asking."""
        self.world.tell("nothing goes wrong any more")
        for model in self.schedule.feasible():
            self.gateway.placement._machine.failures.healthy(model)
            self._unserved.add(model)
            self._insist(model)

    def _insist(self, model: str) -> None:
        front_end = self.front_ends["f0"]
        self._client(front_end, f"{LAST}{model}-{len(self.clients)}", model, 4, 60.0)

    def _is_served(self) -> bool:
        return not self._unserved and all(client.over for client in self.clients)

    def _waiting(self) -> str:
        open_ = [client.request_id for client in self.clients if not client.over]
        return f"models {sorted(self._unserved)}, requests {open_}, jobs {self._jobs()}"

    def _jobs(self) -> dict[str, str]:
        jobs = self.gateway.placement._machine.jobs()
        return {model: f"{phase.value} on {where or '?'}" for model, (phase, where) in jobs.items()}

    def _settle(self) -> None:
        """Everybody has gone home: nothing is held for anyone."""
        self.world.run_until(self.world.now() + SETTLED_S, lambda: not self._held())
        if self._held():
            raise Broken(f"still held for nobody: {self._held()}")

    def _held(self) -> list[str]:
        router, jobs = self.gateway.router, self.gateway.placement._machine._jobs
        held = [model for model, job in jobs.items() if not job.entry.keep_load]
        if held or len(router._leases) or router._parked:
            return [*map(str, self._jobs().items()), router.summary()]
        return []
