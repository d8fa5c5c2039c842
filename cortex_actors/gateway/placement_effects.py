"""What the placement rules ask their shell to do."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from transports.schemas.fleet import ModelSpec
from transports.schemas.link import Failure

Waiter = Hashable
"""Whoever waits, in the caller's own terms."""


class UnloadReason(Enum):
    """Why a model must leave its neuron."""

    ROOM = "room"
    IDLE = "idle"
    OPERATOR = "operator"
    OVERDUE = "overdue"
    """Its load has taken too long."""

    @property
    def keep_warm(self) -> bool:
        """Whether it may sleep instead: nobody wants it gone for good."""
        return self in {UnloadReason.ROOM, UnloadReason.IDLE}


@dataclass(frozen=True, slots=True)
class StartLoad:
    """Have the neuron load this; ``load_ended`` follows."""

    neuron: str
    connection: int
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class CancelLoad:
    """Tell the neuron that nobody waits for this load; ``load_ended`` still follows."""

    neuron: str
    connection: int
    model: str


@dataclass(frozen=True, slots=True)
class StartUnload:
    """Have the neuron drain and unload this; ``unload_ended`` follows."""

    neuron: str
    connection: int
    model: str
    why: UnloadReason


@dataclass(frozen=True, slots=True)
class RenewWorkers:
    """Have the neuron replace its standing processes."""

    neuron: str
    connection: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tell a waiter what became of its wish; ``failure`` is None when the model is ready."""

    waiter: Waiter
    model: str
    failure: Failure | None
    load_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Tell a waiter that the model is gone everywhere, or why not."""

    waiter: Waiter
    model: str
    failure: Failure | None


Effect = StartLoad | CancelLoad | StartUnload | RenewWorkers | Loaded | Unloaded
Effects = list[Effect]
