"""What computes a step's logits: the seam between a rank and a way to run its model."""

from __future__ import annotations

from typing import Protocol

import torch

from neuron_runtime.torch_backend.batch import Batch


class Runner(Protocol):
    """A model, or a rank's part of one, with its cache. Main thread only."""

    @property
    def weight_bytes(self) -> int:
        """How much memory the weights take."""
        ...

    def forward(self, batch: Batch) -> torch.Tensor:
        """Feed a batch; return the logits [wanted rows, vocabulary], of use on rank 0 only.

        They hold until the next call.

        Raises:
            MemoryError, torch.OutOfMemoryError: Nothing was fed that a repetition would harm.
        """
        ...

    def sleep(self) -> None:
        """Move the weights to host memory. The cache's memory has gone; only ``wake`` may follow.

        Raises:
            MemoryError: The host has no room for them.
        """
        ...

    def wake(self) -> None:
        """Move the weights back. The cache has memory again, perhaps elsewhere.

        Raises:
            MemoryError, torch.OutOfMemoryError: There is no room; the runner is of no use any more.
        """
        ...

    def close(self) -> None:
        """Release threads and memory."""
        ...
