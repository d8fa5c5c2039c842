"""Where a request goes: the choice among the engines that could serve it. Pure.

The engine with the least work relative to its capacity wins; equal ones are told apart by the
neuron's name, so that the same state always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from transports.schemas.fleet import ModelState, NeuronState

READY = "ready"


def servable(model: str, neurons: Iterable[NeuronState]) -> tuple[ModelState, ...]:
    """Every replica of ``model`` that may be routed to now."""
    return tuple(
        state
        for neuron in neurons
        if neuron.state == "up"
        for state in neuron.models
        if state.id == model and state.state == READY and state.endpoint
    )


def choose(
    replicas: Iterable[ModelState], outstanding: Callable[[str, str], int]
) -> ModelState | None:
    """The least loaded replica, or None when there is none.

    ``outstanding(model, neuron)`` is what this router itself has leased out and not got back; it is
    used rather than the neuron's own count, which is older.
    """
    return min(
        replicas,
        key=lambda state: (
            outstanding(state.id, state.neuron) / max(state.capacity, 1),
            state.neuron,
        ),
        default=None,
    )
