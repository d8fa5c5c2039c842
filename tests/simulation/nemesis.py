"""Carries out what goes wrong in a schedule, and sets it right again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.gateway import MACHINE
from tests.simulation.schedule import Fault

if TYPE_CHECKING:
    from tests.simulation.neuron import Neuron
    from tests.simulation.simulation import Simulation

LOSS = 0.1
SLOWNESS = 8.0


class Nemesis:
    """One method per kind of fault."""

    def __init__(self, simulation: Simulation) -> None:
        self._all = simulation
        self._world = simulation.world
        self._network = simulation.network

    def plan(self, fault: Fault) -> None:
        """Have it happen at its time."""
        self._world.later(fault.at, partial(self._begin, fault), self._world.nowhere)

    def _begin(self, fault: Fault) -> None:
        self._world.tell(f"{fault.kind} {fault.target} for {fault.for_s:.1f} s")
        getattr(self, f"_{fault.kind}")(fault)

    def _later(self, fault: Fault, undo: Callable[[], None]) -> None:
        self._world.later(fault.for_s, undo, self._world.nowhere)

    def _neuron(self, fault: Fault) -> Neuron:
        return self._all.neurons[fault.target]

    # -- processes and machines -----------------------------------------------------------------

    def _kill_neuron(self, fault: Fault, *, silently: bool = False) -> None:
        neuron = self._neuron(fault)
        if neuron.host.alive:
            neuron.kill(silently=silently)
            self._later(fault, neuron.restart)

    def _lose_machine(self, fault: Fault) -> None:
        self._kill_neuron(fault, silently=True)

    def _kill_engine(self, fault: Fault) -> None:
        neuron = self._neuron(fault)
        running = list(neuron.machine.running.values())
        if neuron.host.alive and running:
            with self._world.inside(neuron.host):
                self._world.rng.choice(running).die()

    def _kill_front_end(self, fault: Fault) -> None:
        if self._all.front_ends[fault.target].host.alive:
            self._all.kill_front_end(fault.target)
            self._later(fault, partial(self._all.restart_front_end, fault.target))

    def _kill_gateway(self, fault: Fault) -> None:
        if self._all.gateway.host.alive:
            self._all.kill_gateway()
            self._later(fault, self._all.restart_gateway)

    def _still(self, fault: Fault) -> None:
        for host in self._neuron(fault).hosts:
            host.still_until = self._world.now() + fault.for_s

    def _slow(self, fault: Fault) -> None:
        hosts = self._neuron(fault).hosts
        for host in hosts:
            host.slowness = SLOWNESS

        def quick() -> None:
            for host in {*hosts, *self._neuron(fault).hosts}:
                host.slowness = 1.0

        self._later(fault, quick)

    def _fail_loads(self, fault: Fault) -> None:
        machine = self._neuron(fault).machine
        machine.loads_fail = True
        self._later(fault, partial(setattr, machine, "loads_fail", False))

    # -- the network ----------------------------------------------------------------------------

    def _cut(self, fault: Fault) -> None:
        self._cut_to(fault)
        self._cut_from(fault)

    def _cut_to(self, fault: Fault) -> None:
        self._network.cut(MACHINE, fault.target)
        self._later(fault, partial(self._network.heal, MACHINE, fault.target))

    def _cut_from(self, fault: Fault) -> None:
        self._network.cut(fault.target, MACHINE)
        self._later(fault, partial(self._network.heal, fault.target, MACHINE))

    def _snap(self, fault: Fault) -> None:
        self._network.break_all(fault.target)

    def _lossy(self, fault: Fault) -> None:
        endpoint = self._neuron(fault).endpoint
        self._network.loss[endpoint] = LOSS

        def lossless() -> None:
            self._network.loss.pop(endpoint, None)

        self._later(fault, lossless)

    def _replay(self, fault: Fault) -> None:
        """What was sent over connections that break comes again over those that follow."""
        self._network.break_all(fault.target)

        def again() -> None:
            self._world.tell(f"{self._network.replay(fault.target)} old messages come again")

        self._later(fault, again)
