"""Which neuron should load a model. Pure.

Neurons that are up and have enough devices are candidates; the one with the most free device memory
wins, and equal ones are told apart by name.
"""

from __future__ import annotations

from collections.abc import Iterable

from transports.failures import FailureCode
from transports.schemas.fleet import ModelSpec, NeuronState
from transports.schemas.link import Failure

RETRY_AFTER_S = 5.0


def place(spec: ModelSpec, neurons: Iterable[NeuronState]) -> str | Failure:
    """Return the neuron's name, or why there is none."""
    up = [neuron for neuron in neurons if neuron.state == "up"]
    if not up:
        return Failure(
            FailureCode.MODEL_UNAVAILABLE, "no neuron is connected", retry_after_s=RETRY_AFTER_S
        )
    able = [neuron for neuron in up if len(neuron.devices) >= spec.min_devices]
    if not able:
        most = max(len(neuron.devices) for neuron in up)
        return Failure(
            FailureCode.INSUFFICIENT_DEVICES,
            f"model '{spec.id}' needs {spec.min_devices} devices; no neuron has more than {most}",
        )
    return min(able, key=lambda neuron: (-_free_mb(neuron), neuron.name)).name


def _free_mb(neuron: NeuronState) -> int:
    return sum(device.memory_free_mb for device in neuron.devices)
