"""Numbers of Python's on the way to a device."""

from __future__ import annotations

import torch


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return ``values``, which are on the CPU, on ``device``, without waiting for the device.

    PERF: from page-locked memory a copy to CUDA is only put into its queue; from any other torch
    waits until all that was queued before has been computed. Its allocator gives page-locked memory
    to nobody else before the copy has been made.
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
