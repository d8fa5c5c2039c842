"""Which models sleep in host memory, and which of them must make room there. Pure.

Owned by the Models actor. What is admitted never takes more than the budget; the longest asleep
goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, final

from cortex_actors.neuron.memory_cap import taken_mb
from cortex_actors.neuron.model_lifecycle import ModelPhase
from transports.schemas.fleet import DeviceState, ModelState

# What a driver and a process's own context may take of a device without anyone missing it.
_MOST_MISSED: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A model, the devices that it can wake on, and what it keeps in host memory."""

    model: str
    devices: tuple[str, ...]
    held_mb: int


def short_of_memory(devices: Iterable[DeviceState], models: Iterable[ModelState]) -> frozenset[str]:
    """Return the devices that have less free than the models on them explain.

    Nothing is said of one whose models are on their way: what they take is not known yet. A CPU's
    memory is the host's, where sleepers are reckoned otherwise.
    """
    residents = [model for model in models if model.state != ModelPhase.FAILED]
    moving = {
        device for model in residents if model.state != ModelPhase.READY for device in model.devices
    }
    return frozenset(
        device.id
        for device in devices
        if device.kind != "cpu"
        and device.id not in moving
        and device.memory_free_mb + taken_mb(device, residents)
        < (1.0 - _MOST_MISSED) * device.memory_total_mb
    )


@final
class WarmPool:
    """The sleepers, the longest asleep first. A budget of 0 admits none."""

    def __init__(self, budget_mb: int) -> None:
        self.budget_mb = budget_mb
        self._sleepers: dict[str, Sleeper] = {}

    @property
    def held_mb(self) -> Mapping[str, int]:
        """What each sleeper keeps."""
        return {model: each.held_mb for model, each in self._sleepers.items()}

    def admit(self, sleeper: Sleeper) -> tuple[str, ...] | None:
        """Take one in; return who had to leave for it, or None if it is too large or unknown."""
        self.leave(sleeper.model)
        if not 0 < sleeper.held_mb <= self.budget_mb:
            return None
        victims = []
        while sum(self.held_mb.values()) + sleeper.held_mb > self.budget_mb:
            victims.append(next(iter(self._sleepers)))
            self.leave(victims[-1])
        self._sleepers[sleeper.model] = sleeper
        return tuple(victims)

    def leave(self, model: str) -> None:
        """It is awake or gone; unknown models are ignored."""
        self._sleepers.pop(model, None)

    def stranded(self, present: Collection[str]) -> tuple[str, ...]:
        """Return those that cannot wake any more, since a device of theirs is not ``present``."""
        return tuple(
            each.model for each in self._sleepers.values() if not set(each.devices) <= set(present)
        )

    def in_the_way(self, short_of: Collection[str]) -> str | None:
        """Return the longest asleep that has a device which lacks memory, or None."""
        for each in self._sleepers.values():
            if set(each.devices) & set(short_of):
                return each.model
        return None
