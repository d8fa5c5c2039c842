"""A neuron that offers less memory than its devices have. Pure.

``neuron.memory_mb`` caps each device; what ``neuron.warm_mb`` sets aside for sleeping models is no
CPU device's to offer, whether it is used yet or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cortex_actors.neuron.model_lifecycle import ModelPhase
from transports.schemas.fleet import DeviceState, ModelState

# As on a device that is measured: a model that is starting has not taken its memory yet, and one
# that recovers has given it back. Gateways count on that.
_HOLDING = frozenset({ModelPhase.READY, ModelPhase.UNLOADING})


def capped(devices: Sequence[DeviceState], cap_mb: int | None) -> tuple[DeviceState, ...]:
    """Return the devices as they are offered: with at most ``cap_mb`` each; None is no cap."""
    if cap_mb is None:
        return tuple(devices)
    return tuple(
        msgspec.structs.replace(
            device,
            memory_total_mb=min(device.memory_total_mb, cap_mb),
            memory_free_mb=min(device.memory_free_mb, cap_mb),
        )
        for device in devices
    )


def less_set_aside(
    devices: Sequence[DeviceState], warm_mb: int, used_mb: int = 0
) -> tuple[DeviceState, ...]:
    """Return the devices without the warm tier's budget, of which ``used_mb`` are taken already.

    What sleeps is in the measured figures of the host, as is what it took when it was awake; so
    falling asleep frees a CPU's memory in this account, as it does a GPU's.
    """
    cpus = sum(device.kind == "cpu" for device in devices)
    unused_mb = max(0, warm_mb - used_mb)
    return tuple(
        msgspec.structs.replace(
            device,
            memory_total_mb=max(0, device.memory_total_mb - warm_mb // cpus),
            memory_free_mb=max(0, device.memory_free_mb - unused_mb // cpus),
        )
        if device.kind == "cpu"
        else device
        for device in devices
    )


def less_used(
    devices: Sequence[DeviceState], models: Sequence[ModelState], cap_mb: int | None
) -> tuple[DeviceState, ...]:
    """Return capped devices less what the models on them take, each an even share per device.

    Under a cap the host's free memory says nothing of ours: others share it. Without one, the
    measured figures hold the models already.
    """
    if cap_mb is None:
        return tuple(devices)
    holding = [model for model in models if model.state in _HOLDING]
    return tuple(
        msgspec.structs.replace(
            device,
            memory_free_mb=max(
                0, min(device.memory_free_mb, device.memory_total_mb - taken_mb(device, holding))
            ),
        )
        for device in devices
    )


def taken_mb(device: DeviceState, models: Iterable[ModelState]) -> int:
    """Return what the models take of the device, each an even share per device that it has."""
    return sum(
        -(-model.memory_mb // len(model.devices)) for model in models if device.id in model.devices
    )
