"""Weights that wait in host memory while their device serves another model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, final

import torch

_log = logging.getLogger("cortex.torch")

_ALIGNMENT = 64


def tensors_of(*holders: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors of modules: parameters, buffers, and those that are mere attributes."""
    for holder in holders:
        for module in holder.modules() if isinstance(holder, torch.nn.Module) else (holder,):
            attributes = vars(module)
            registered = (attributes.get(key, {}) for key in ("_parameters", "_buffers"))
            for value in chain(attributes.values(), *(each.values() for each in registered)):
                if isinstance(value, torch.Tensor):
                    yield value


def leftover_bytes(device: torch.device) -> int:
    """Return what this process's tensors still take of ``device`` once its allocator lets go.

    On a CPU that is nothing: what is there counts as host memory.
    """
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_reserved(device))


@final
class ParkedTensors:
    """Takes those of ``tensors`` that are on ``device`` to the host, until ``restore``.

    A tensor keeps its identity, so whoever holds one need not know; those that were one (tied
    weights) are one again. The host's memory is one block, page-locked for CUDA so that the way
    back goes at the bus's speed, and is the operating system's again after ``restore``: torch's own
    pinned allocator would round every tensor up to a power of two, and keep it.

    Raises:
        MemoryError: The host has no room.
    """

    def __init__(self, tensors: Iterable[torch.Tensor], device: torch.device) -> None:
        self._device = device
        here = {id(each): each for each in tensors if each.device == device and each.numel()}
        self._tensors = list(here.values())
        places: dict[object, int] = {}
        size = 0
        for each in self._tensors:
            if _memory_of(each) not in places:
                places[_memory_of(each)] = size
                size += -(-each.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._block = _host_block(size)
        self._locked = device.type == "cuda" and size > 0 and _page_lock(self._block, device)
        self._park(places)

    def restore(self) -> None:
        """Take all tensors back; once.

        Raises:
            torch.OutOfMemoryError: The device has no room.
        """
        back: dict[int, torch.Tensor] = {}
        for each in self._tensors:
            place = each.data_ptr()
            if place not in back:
                back[place] = each.data.to(self._device, non_blocking=True, copy=True)
            _point(each, back[place])
        self._synchronize()
        self._tensors = []
        if self._locked:
            _cuda_runtime().cudaHostUnregister(self._block.data_ptr())
        self._block = _host_block(0)

    def _park(self, places: dict[object, int]) -> None:
        parked: dict[object, torch.Tensor] = {}
        for each in self._tensors:
            memory = _memory_of(each)
            if memory not in parked:
                raw = self._block[places[memory] : places[memory] + each.nbytes]
                parked[memory] = raw.view(each.dtype).view(each.shape)
                parked[memory].copy_(each.data, non_blocking=True)
        # The device's memory must not be used for anything else before it has been read.
        self._synchronize()
        for each in self._tensors:
            _point(each, parked[_memory_of(each)])

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _memory_of(tensor: torch.Tensor) -> object:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _point(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """Have ``tensor`` be ``data`` from now on."""
    if not tensor.is_inference():
        tensor.data = data.view(tensor.shape)
        return
    # What a model made during a step (a rotary table, say) can only be given data of its own kind.
    with torch.inference_mode():
        tensor.data = data.clone().view(tensor.shape)


def _host_block(size: int) -> torch.Tensor:
    try:
        return torch.empty(size, dtype=torch.uint8)
    except RuntimeError as error:
        raise MemoryError(f"the host has no {size} bytes for weights: {error}") from error


def _page_lock(block: torch.Tensor, device: torch.device) -> bool:
    """Lock the block's pages; without it (a limit of locked memory, say) copies are slower."""
    code = int(_cuda_runtime().cudaHostRegister(block.data_ptr(), block.nbytes, 0))
    if code:
        _log.warning("weights are not page-locked bytes=%d cuda_error=%d", block.nbytes, code)
        # CUDA also keeps the error for whoever asks for the last one: torch, which would blame the
        # next kernel that it launches. So let that be this one.
        with suppress(RuntimeError):
            torch.ones(1, device=device)
    return code == 0


def _cuda_runtime() -> Any:
    cuda: Any = torch.cuda
    return cuda.cudart()
