"""What goes wrong on a rank, as its engine is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from neuron_runtime.backends.base import BackendError
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.torch_backend.cpu_mesh import MeshError
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from transports.failures import FailureCode


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
    except (MemoryError, torch.OutOfMemoryError) as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise BackendError(FailureCode.OUT_OF_MEMORY, f"out of memory: {error}") from error
