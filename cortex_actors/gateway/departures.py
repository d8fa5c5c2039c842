"""Unloads under way: whose they are, and who waits for them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from cortex_actors.gateway.fleet_table import FleetTable
from cortex_actors.gateway.placement_effects import (
    Effects,
    StartUnload,
    Unloaded,
    UnloadReason,
    Waiter,
)
from cortex_actors.gateway.refusals import unknown
from transports.failures import FailureCode
from transports.schemas.link import Failure


@dataclass(slots=True)
class _Wish:
    """An operator's; ``connections`` have not answered yet."""

    connections: set[int]
    waiters: list[Waiter]
    failure: Failure | None = None


@final
class Departures:
    """Each replica's unload is asked for once and ended once."""

    def __init__(self, fleet: FleetTable) -> None:
        self._fleet = fleet
        self._neurons: dict[tuple[str, int], str] = {}
        self._wishes: dict[str, _Wish] = {}

    def start(self, model: str, neuron: str, why: UnloadReason) -> Effects:
        """Have one replica leave; nothing if it does already or its neuron is down."""
        connection = self._fleet.connection(neuron)
        if connection is None or (model, connection) in self._neurons:
            return []
        self._neurons[model, connection] = neuron
        self._fleet.leaves(neuron, model)
        return [StartUnload(neuron, connection, model, why)]

    def everywhere(self, model: str, waiter: Waiter) -> Effects:
        """Have every replica leave and tell ``waiter``."""
        wish = self._wishes.get(model)
        if wish is not None:
            wish.waiters.append(waiter)
            return []
        holders = self._fleet.holders(model)
        why = UnloadReason.OPERATOR
        effects = [each for neuron in holders for each in self.start(model, neuron, why)]
        leaving = {connection for of, connection in self._neurons if of == model}
        if not leaving:
            return [Unloaded(waiter, model, unknown(model, "is not loaded on any neuron"))]
        self._wishes[model] = _Wish(leaving, [waiter])
        return effects

    def ended(self, model: str, connection: int, failure: Failure | None, now: float) -> Effects:
        """One replica's unload has ended; that of one that was not asked for changes nothing."""
        neuron = self._neurons.pop((model, connection), None)
        if neuron is None:
            return []
        self._fleet.left(neuron, model, now, gone=has_left(failure))
        wish = self._wishes.get(model)
        if wish is None or connection not in wish.connections:
            return []
        wish.connections.remove(connection)
        wish.failure = wish.failure or (None if has_left(failure) else failure)
        if wish.connections:
            return []
        del self._wishes[model]
        return [Unloaded(waiter, model, wish.failure) for waiter in wish.waiters]

    def over(self, connection: int) -> list[str]:
        """The models that are leaving over this connection."""
        return [model for model, over in self._neurons if over == connection]


def has_left(failure: Failure | None) -> bool:
    """Whether an unload that ended so has left nothing behind."""
    return failure is None or failure.code == FailureCode.MODEL_NOT_FOUND
