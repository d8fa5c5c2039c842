"""Which model sits on which devices. Pure; owned by the Models actor.

Single-device models may share a device while its memory lasts. A tensor-parallel group owns its
devices alone: two groups whose collectives interleave on one device can wait for each other for
ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from transports.failures import FailureCode
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class Placed:
    """The devices that a model occupies, in rank order, and the memory promised on each."""

    model: str
    devices: tuple[str, ...]
    memory_mb: int


@final
class DeviceTable:
    """The neuron's devices and their tenants."""

    def __init__(self, memory_mb: dict[str, int]) -> None:
        self._memory_mb = dict(memory_mb)
        self._placed: dict[str, Placed] = {}
        self._lost: frozenset[str] = frozenset()
        self._free_mb: Mapping[str, int] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        """All device ids, in the configured order."""
        return tuple(self._memory_mb)

    def observe(self, free_mb: Mapping[str, int]) -> None:
        """So much is free as measured; place nothing on devices that are not there."""
        self._lost = frozenset(self._memory_mb).difference(free_mb)
        self._free_mb = dict(free_mb)

    def lost_ranks(self) -> dict[str, tuple[int, str]]:
        """Return the models that have a device which is gone: the first such rank and its device.

        They keep their devices until they are released.
        """
        return {
            placed.model: (rank, device)
            for placed in self._placed.values()
            for rank, device in reversed(list(enumerate(placed.devices)))
            if device in self._lost
        }

    def place_on(self, model: str, devices: tuple[str, ...], memory_mb: int) -> bool:
        """Reserve these very devices with ``memory_mb`` in total; False if that cannot be."""
        each_mb = -(-memory_mb // len(devices))
        if any(
            device in self._lost or not self._fits(device, len(devices), each_mb)
            for device in devices
        ):
            return False
        self._placed[model] = Placed(model, devices, each_mb)
        return True

    def place(self, model: str, count: int, memory_mb: int) -> Placed | Failure:
        """Reserve ``count`` devices with ``memory_mb`` in total, or say why that cannot be.

        Devices that have the memory as measured are taken first, for other programs and models that
        have just left may hold it; of these the emptiest; equal ones in the configured order.
        """
        usable = [device for device in self._memory_mb if device not in self._lost]
        if count > len(usable):
            return _refusal(
                f"model '{model}' needs {count} devices; this neuron has"
                f" {len(usable)}: {', '.join(usable) or 'none'}{self._gone()}"
            )
        count = max(count, 1)
        each_mb = -(-memory_mb // count)
        fitting = [device for device in usable if self._fits(device, count, each_mb)]
        if len(fitting) < count:
            return _refusal(
                f"model '{model}' needs {count} device(s) with {each_mb} MB each;"
                f" {len(fitting)} can host it now{self._tenants()}{self._gone()}"
            )
        fitting.sort(key=lambda device: (self._is_short(device, each_mb), self._used_mb(device)))
        placed = Placed(model, tuple(sorted(fitting[:count], key=self._order)), each_mb)
        self._placed[model] = placed
        return placed

    def release(self, model: str) -> None:
        """Give a model's devices back; unknown models are ignored."""
        self._placed.pop(model, None)

    def _fits(self, device: str, count: int, each_mb: int) -> bool:
        tenants = self._on(device)
        if any(len(placed.devices) > 1 for placed in tenants) or (count > 1 and tenants):
            return False
        return self._used_mb(device) + each_mb <= self._memory_mb[device]

    def _is_short(self, device: str, each_mb: int) -> bool:
        return device in self._free_mb and self._free_mb[device] < each_mb

    def _on(self, device: str) -> Sequence[Placed]:
        return [placed for placed in self._placed.values() if device in placed.devices]

    def _used_mb(self, device: str) -> int:
        return sum(placed.memory_mb for placed in self._on(device))

    def _order(self, device: str) -> int:
        return self.devices.index(device)

    def _gone(self) -> str:
        names = ", ".join(device for device in self._memory_mb if device in self._lost)
        return f" (gone: {names})" if names else ""

    def _tenants(self) -> str:
        names = ", ".join(
            f"{placed.model} on {'+'.join(placed.devices)}" for placed in self._placed.values()
        )
        return f" (resident: {names})" if names else ""


def _refusal(message: str) -> Failure:
    return Failure(FailureCode.INSUFFICIENT_DEVICES, message)
