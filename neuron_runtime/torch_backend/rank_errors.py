"""What goes wrong on a rank, as its engine is told."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from neuron_runtime.backends.base import BackendError, DeviceLost
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.torch_backend.cpu_mesh import MeshError
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from transports.failures import FailureCode

_NO_MEMORY: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@contextmanager
def load_errors(rank: int) -> Iterator[None]:
    """Turn what reading a model raises into a ``BackendError``; files are this rank's own."""
    try:
        yield
    except PlacementError as error:
        raise BackendError(error.code, str(error)) from error
    except ModelFilesError as error:
        raise BackendError(error.code, f"rank {rank}: {error}") from error


@contextmanager
def step_errors(rank: int) -> Iterator[None]:
    """Turn what a forward pass raises into a ``BackendError``, or into a ``DeviceLost``."""
    try:
        yield
    except MeshError as error:
        raise BackendError(FailureCode.WORKER_DIED, f"rank {rank}: {error}") from error
    except Exception as error:
        if not _is_out_of_memory(error):
            _refuse_lost_device(rank, error)
            raise
        try:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        except RuntimeError as lost:
            raise DeviceLost(f"rank {rank}: {lost}") from error
        raise BackendError(FailureCode.OUT_OF_MEMORY, f"out of memory: {error}") from error


def _refuse_lost_device(rank: int, error: Exception) -> None:
    """A fault on a GPU (a bad address, an assertion) fails all that this process asks of it later.

    So what it was in does not matter: whether the GPU still answers does.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return
    try:
        # Not to wait for what is under way, which may be a collective that somebody else has left.
        torch.cuda.current_stream().query()
    except RuntimeError as lost:
        raise DeviceLost(f"rank {rank}: {lost}") from error


def _is_out_of_memory(error: Exception) -> bool:
    match error:
        case OSError():
            return error.errno == errno.ENOMEM
        case MemoryError() | torch.OutOfMemoryError():
            return True
        case _:
            # torch has no class of its own for a CPU's memory, nor for what CUDA's libraries take.
            return any(words in str(error) for words in _NO_MEMORY)
