"""How much room a neuron's devices have, and who holds the rest. Pure.

Two accounts of a device are kept and the poorer one counts: what its models are known to take of
its total, and what it last said is free less what has been promised since. The first does not know
of other programs on the host, the second not of a load that has only begun.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import final

from transports.schemas.fleet import DeviceState


@final
@dataclass(frozen=True, slots=True)
class Resident:
    """A model that holds memory on a neuron, or is about to.

    ``settled`` says that the neuron's free memory shows it already; ``memory_mb`` is over all its
    devices. ``cost_s`` is what it is expected to cost to be without it, in seconds of loading.
    """

    model: str
    devices: tuple[str, ...]
    memory_mb: int
    settled: bool = True
    busy: bool = False
    pinned: bool = False
    priority: int = 100
    last_used: float = 0.0
    cost_s: float = 0.0

    def share_mb(self, device: str) -> int:
        """What it takes of ``device``."""
        if device not in self.devices:
            return 0
        return -(-self.memory_mb // len(self.devices))


@final
@dataclass(frozen=True, slots=True)
class Room:
    """One neuron as placement sees it; ``locked`` while another load or eviction is under way.

    Of one that is not ``known`` nobody can say what devices it has: it has never answered.
    ``harnesses`` are what it can run models with, None where it does not say.
    """

    neuron: str
    up: bool
    devices: tuple[DeviceState, ...]
    residents: tuple[Resident, ...] = ()
    locked: bool = False
    known: bool = True
    harnesses: tuple[str, ...] | None = None

    def free_mb(self, device: DeviceState, without: Collection[str] = ()) -> int:
        """What ``device`` could still take if the models of ``without`` left it."""
        promised = unseen = returned = 0
        for each in self.residents:
            share_mb = each.share_mb(device.id)
            if each.model not in without:
                promised += share_mb
                unseen += 0 if each.settled else share_mb
            elif each.settled:
                returned += share_mb
        total = max(device.memory_total_mb, 0)
        said = min(max(device.memory_free_mb, 0), total)
        return min(total - promised, said + returned - unseen)

    def holding(self, residents: tuple[Resident, ...]) -> Room:
        """The same neuron with these models instead."""
        return replace(self, residents=residents)

    def tenants(self, device: DeviceState, without: Collection[str] = ()) -> list[Resident]:
        """Who is on ``device`` apart from the models of ``without``."""
        return [
            each
            for each in self.residents
            if device.id in each.devices and each.model not in without
        ]
