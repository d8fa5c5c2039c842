"""What a rank runs: the seam between the worker process and a way to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from transports.failures import FailureCode
from transports.schemas.group import (
    EmbedStep,
    EmbedStepDone,
    LoadShard,
    ShardAsleep,
    ShardLoaded,
    Step,
    StepDone,
)

OnCollective = Callable[[], None]


class BackendError(Exception):
    """A failure with a code that a user may be shown; the rank lives on.

    When all ranks answer one operation with the same ``code`` the request fails and the group
    survives; raise it before anything has diverged between ranks.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class DeviceLost(Exception):
    """The device answers nothing any more in this process, which has to end."""


class Backend(Protocol):
    """One rank's device, weight shard and cache. All calls come from the worker's main thread.

    After a ``DeviceLost`` there is no answer, and nothing more is called. Any other exception but
    ``BackendError`` is answered as ``internal``; the log has its traceback.
    """

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Join the group's collectives and load this rank's weights. First call, once.

        Raises:
            BackendError: The shard cannot be loaded; names the file or the device.
        """
        ...

    def step(self, step: Step, masks: bytes = b"") -> StepDone:
        """Run one forward pass; only rank 0 returns tokens.

        ``masks`` holds one row for each masked sequence of the step, in order (see ``Step``).

        Raises:
            BackendError: The batch cannot be run, on any rank alike.
        """
        ...

    def embed(self, step: EmbedStep) -> tuple[EmbedStepDone, bytes]:
        """Make a vector of each sequence; only rank 0 returns rows, little-endian float32.

        Raises:
            BackendError: The model makes none, or not of these; on any rank alike.
        """
        ...

    def clear(self) -> None:
        """Drop every sequence's keys and values."""
        ...

    def sleep(self) -> ShardAsleep:
        """Drop keys and values and move the weights to host memory; only ``wake`` may follow.

        Raises:
            BackendError: They cannot be moved; this rank is of no use any more.
        """
        ...

    def wake(self) -> ShardLoaded:
        """Be as after ``load``, with empty keys and values.

        Raises:
            BackendError: The device has no room; this rank is of no use any more.
        """
        ...

    def close(self) -> None:
        """Release the device and leave the collectives; must not wait for other ranks."""
        ...


class BackendFactory(Protocol):
    """Creates a rank's backend in the worker process."""

    def __call__(self, *, on_collective: OnCollective) -> Backend:
        """Return a backend that calls ``on_collective`` before each step's first collective."""
        ...
