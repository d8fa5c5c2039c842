"""Which neuron should load a model, and which models must leave it first. Pure.

Neurons are compared in this order: those where it fits freely, those where it fits once idle models
have left; by what that costs, less what is saved where the model is warm; then the most free
memory; then the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self, final

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.gateway.room import Resident, Room
from cortex_actors.gateway.victims import Strategy, cheapest, may_displace
from transports.schemas.fleet import DeviceState, ModelSpec


class Verdict(Enum):
    """What a neuron can do for a model, best first."""

    FREE = "free"
    EVICT = "evict"
    WAIT = "wait"
    """It could if models that are busy now were not."""
    HELD = "held"
    """It could if models were not there that must not leave for this one."""
    DOWN = "down"
    """It could if it were up, or it might: it has never answered."""
    NEVER = "never"


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to be placed. ``memory_mb`` is over all devices; 0 is not known, and then fits."""

    spec: ModelSpec
    memory_mb: int
    priority: int = 100
    pinned_on: tuple[str, ...] = ()
    min_compute_capability: str = ""
    harness: str = ""

    @classmethod
    def of(cls, entry: CatalogueEntry, measured_mb: int) -> Self:
        """Return what an entry takes: what it is granted, or more if more was measured."""
        return cls(
            entry.spec(),
            max(measured_mb, entry.vram_mb),
            entry.residency_priority,
            entry.pinned_on,
            entry.min_compute_capability,
            entry.harness,
        )

    @property
    def each_mb(self) -> int:
        """What each of its devices must have."""
        return -(-self.memory_mb // self.count)

    @property
    def count(self) -> int:
        """How many devices it takes."""
        return max(self.spec.min_devices, 1)


@final
@dataclass(frozen=True, slots=True)
class Assessment:
    """What one neuron can do for one model; ``why`` is for people.

    ``devices`` and ``victims`` are those it would use and unload, for FREE and EVICT; ``saved_s``
    is how much less than a cold load it takes there.
    """

    neuron: str
    verdict: Verdict
    why: str
    devices: tuple[str, ...] = ()
    victims: tuple[Resident, ...] = ()
    free_mb: int = 0
    locked: bool = False
    saved_s: float = 0.0

    @property
    def cost_s(self) -> float:
        """What its evictions are expected to cost."""
        return sum(each.cost_s for each in self.victims)


def assess(wanted: Wanted, room: Room, strategy: Strategy, saved_s: float = 0.0) -> Assessment:
    """Say what the neuron of ``room``, where loading it saves ``saved_s``, can do for the model."""
    able = [device for device in room.devices if _is_able(wanted, device)]
    reason = _never(wanted, room, able)
    if reason:
        return Assessment(room.neuron, Verdict.NEVER, reason)
    if not room.up:
        why = "it is not connected" if room.known else "it has not answered yet"
        return Assessment(room.neuron, Verdict.DOWN, why)
    free_mb = sum(max(room.free_mb(device), 0) for device in room.devices)

    count = wanted.count

    def fitting(without: frozenset[str]) -> tuple[str, ...]:
        return _fitting(wanted, room, able, without)

    def found(
        verdict: Verdict, why: str, fit: tuple[str, ...] = (), victims: tuple[Resident, ...] = ()
    ) -> Assessment:
        used = fit[:count]
        return Assessment(room.neuron, verdict, why, used, victims, free_mb, room.locked, saved_s)

    # PERF: where there is room, which is what most are asked for, nobody need be compared.
    fit = fitting(frozenset())
    if len(fit) >= count:
        return found(Verdict.FREE, "it fits beside what is there", fit)
    displaceable = [each for each in room.residents if may_displace(wanted.priority, each)]
    idle = [each for each in displaceable if not each.busy and each.settled]
    victims = cheapest(idle, lambda gone: len(fitting(gone)) >= count, strategy)
    if victims is not None:
        fit = fitting(frozenset(each.model for each in victims))
        return found(Verdict.EVICT, f"it fits without {_listed(victims)}", fit, victims)
    if len(fitting(frozenset(each.model for each in displaceable))) >= count:
        return found(Verdict.WAIT, f"{_listed(displaceable)} must be idle first")
    return found(Verdict.HELD, f"{_listed(room.residents)} must not leave for it")


def obstacle(wanted: Wanted, room: Room) -> str:
    """Say why the neuron can never hold the model, whatever leaves it.

    Empty if it can, and of one that is not known.
    """
    return _never(wanted, room, [device for device in room.devices if _is_able(wanted, device)])


def best(assessments: Sequence[Assessment]) -> Assessment | None:
    """Return the assessment of the neuron to use now; None if there is none.

    A locked one may be the best: then waiting for it is.
    """
    usable = [
        each
        for each in assessments
        if each.verdict is Verdict.FREE or each.verdict is Verdict.EVICT
    ]
    return min(usable, key=_rank, default=None)


def _rank(each: Assessment) -> tuple[bool, float, int, str]:
    cost_s = each.cost_s - each.saved_s
    return each.verdict is not Verdict.FREE, cost_s, -each.free_mb, each.neuron


def _is_able(wanted: Wanted, device: DeviceState) -> bool:
    least = max(wanted.each_mb, wanted.spec.min_device_vram_mb)
    if device.memory_total_mb < least or not wanted.min_compute_capability:
        return device.memory_total_mb >= least
    return _version(device.compute_capability) >= _version(wanted.min_compute_capability)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split(".")) if text else ()


def _never(wanted: Wanted, room: Room, able: Sequence[DeviceState]) -> str:
    """Why the neuron can never hold the model; empty if it can or is not known."""
    if wanted.pinned_on and room.neuron not in wanted.pinned_on:
        return f"it is pinned on {', '.join(wanted.pinned_on)}"
    if room.harnesses is not None and wanted.harness and wanted.harness not in room.harnesses:
        has = ", ".join(room.harnesses) or "none"
        return f"it needs the harness {wanted.harness}; there are: {has}"
    if not room.known or len(able) >= wanted.count:
        return ""
    least = max(wanted.each_mb, wanted.spec.min_device_vram_mb)
    needs = f"{wanted.count} device(s) of at least {least} MB"
    if wanted.min_compute_capability:
        needs += f" and compute capability {wanted.min_compute_capability}"
    has = ", ".join(f"{each.id} ({each.memory_total_mb} MB)" for each in room.devices) or "none"
    return f"it needs {needs}; there are: {has}"


def _fitting(
    wanted: Wanted, room: Room, able: Sequence[DeviceState], without: frozenset[str]
) -> tuple[str, ...]:
    """The devices that have room, the freest first."""
    each_mb, count = wanted.each_mb, wanted.count
    free = {
        device.id: room.free_mb(device, without)
        for device in able
        if _is_shareable(count, room.tenants(device, without))
    }
    fitting = [device for device, free_mb in free.items() if free_mb >= each_mb]
    return tuple(sorted(fitting, key=lambda device: -free[device]))


def _is_shareable(count: int, tenants: Sequence[Resident]) -> bool:
    # Two groups whose collectives interleave on one device can wait for each other for ever.
    return not tenants or (count == 1 and all(len(each.devices) == 1 for each in tenants))


def _listed(residents: Sequence[Resident]) -> str:
    return ", ".join(sorted(each.model for each in residents)) or "nothing"
