"""What records a computation: the seam between decode graphs and a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class NoRoom(Exception):
    """There is too little memory to record anything more; what has been recorded holds."""


class Recording(Protocol):
    """A computation that runs again, on the memory that it was recorded with."""

    def replay(self) -> None:
        """Compute again what the tensors that it was recorded with say now."""
        ...


class Recorder(Protocol):
    """Records computations whose shapes and Python values never change. Main thread only."""

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return what ``compute`` does; a computation is run like this before it is recorded."""
        ...

    def record(self, compute: Callable[[], object]) -> Recording:
        """Record ``compute``, whose results are whatever it writes into tensors of its caller.

        It may or may not compute anything while it is recorded.

        Raises:
            NoRoom: There is too little memory.
            Exception: ``compute`` does what cannot be recorded.
        """
        ...

    def clear(self) -> None:
        """Give back what the recordings shared; none of them is used any more."""
        ...
