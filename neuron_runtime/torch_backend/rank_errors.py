"""What goes wrong on a rank, as its engine is told."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from neuron_runtime.backends.base import BackendError
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.torch_backend.cpu_mesh import MeshError
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from transports.failures import FailureCode

_CPU_ALLOCATOR: Final = "DefaultCPUAllocator: can't allocate memory"


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
    """Turn what a forward pass raises into a ``BackendError``."""
    try:
        yield
    except MeshError as error:
        raise BackendError(FailureCode.WORKER_DIED, f"rank {rank}: {error}") from error
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise BackendError(FailureCode.OUT_OF_MEMORY, f"out of memory: {error}") from error


def _is_out_of_memory(error: Exception) -> bool:
    match error:
        case OSError():
            return error.errno == errno.ENOMEM
        case MemoryError() | torch.OutOfMemoryError():
            return True
        case _:
            # torch has no class of its own for a CPU's memory.
            return _CPU_ALLOCATOR in str(error)
