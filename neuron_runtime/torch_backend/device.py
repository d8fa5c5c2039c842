"""Which device a rank computes on, and in which precision."""

from __future__ import annotations

import os

import torch

from neuron_runtime.backends.base import BackendError
from transports.failures import FailureCode
from transports.schemas.group import LoadShard

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_device(name: str) -> torch.device:
    """Return the device that a group member was given; ``cpu:2`` is a share of the one CPU.

    Raises:
        BackendError: This host has no such device.
    """
    kind, _, index = name.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or not (index.isdigit() or not index):
        raise BackendError(FailureCode.INSUFFICIENT_DEVICES, f"there is no kind of device {name!r}")
    # Numbers are nvidia-smi's. CUDA by itself would number the fastest first; it reads this once.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(index or 0)
    if number >= count:
        raise BackendError(
            FailureCode.INSUFFICIENT_DEVICES, f"there is no {name}: this host has {count} GPUs"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def choose_threads(shard: LoadShard) -> int:
    """Return how many threads a rank computes with: what it was told, or its share of the cores."""
    return shard.threads if shard.threads > 0 else max(1, (os.cpu_count() or 1) // shard.world_size)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision to compute in.

    ``auto`` is bfloat16 on a GPU. On a CPU it is float32, which is exact and, with the weights
    packed as ``local_linear`` does, decodes twice as fast as bfloat16, even with AVX512-BF16.

    Raises:
        BackendError: No such precision.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise BackendError(
            FailureCode.LOAD_FAILED, f"there is no dtype {name!r}; use auto, {', '.join(_DTYPES)}"
        )
    return _DTYPES[name]
