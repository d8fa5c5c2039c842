"""How old what is known of each neuron is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from transports.schemas.fleet import NeuronState


def aged(
    neurons: Iterable[NeuronState], heard: Mapping[str, float], now: float
) -> tuple[NeuronState, ...]:
    """Return the neurons with the ages of their figures; ``heard`` is when each spoke, monotonic.

    A device's figures were measured before they were told, and are that much older.
    """
    return tuple(_aged(each, max(0.0, now - heard.get(each.name, now))) for each in neurons)


def _aged(neuron: NeuronState, age_s: float) -> NeuronState:
    devices = tuple(
        msgspec.structs.replace(each, age_s=age_s + max(0.0, each.age_s)) for each in neuron.devices
    )
    return msgspec.structs.replace(neuron, age_s=age_s, devices=devices)
