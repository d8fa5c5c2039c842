"""A rank that learns from its first operation what kind of model it holds."""

from __future__ import annotations

from pathlib import Path
from typing import final

from neuron_runtime.backends.base import BackendError, OnCollective
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_kind import ModelKind
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.embedding_backend import EmbeddingBackend
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


@final
class TorchRank:
    """Generates or embeds, as the model's files say.

    Args:
        on_collective: Called in every step, just before the forward pass.
    """

    def __init__(self, *, on_collective: OnCollective) -> None:
        self._on_collective = on_collective
        self._generation: TorchBackend | None = None
        self._embedding: EmbeddingBackend | None = None

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Load the model with the backend that it needs.

        Raises:
            BackendError: As the backend raises it, or the model's configuration cannot be read.
        """
        try:
            kind = ModelKind.of(Path(shard.model_dir))
        except ModelFilesError as error:
            raise BackendError(error.code, f"rank {shard.rank}: {error}") from error
        if kind is ModelKind.EMBEDDING:
            self._embedding = EmbeddingBackend(on_collective=self._on_collective)
            return self._embedding.load(shard)
        self._generation = TorchBackend(on_collective=self._on_collective)
        return self._generation.load(shard)

    def step(self, step: Step, masks: bytes = b"") -> StepDone:
        """Run one step of a model that generates; see ``TorchBackend.step``."""
        if self._generation is None:
            raise BackendError(FailureCode.STEP_FAILED, "no model that generates is loaded")
        return self._generation.step(step, masks)

    def embed(self, step: EmbedStep) -> tuple[EmbedStepDone, bytes]:
        """Run one step of a model for embeddings; see ``EmbeddingBackend.embed``."""
        if self._embedding is None:
            raise BackendError(FailureCode.STEP_FAILED, "no model for embeddings is loaded")
        return self._embedding.embed(step)

    def clear(self) -> None:
        """Drop every sequence's keys and values."""
        if self._generation is not None:
            self._generation.clear()

    def sleep(self) -> ShardAsleep:
        """Give up the device but not the weights; see ``Backend.sleep``."""
        return self._holder().sleep()

    def wake(self) -> ShardLoaded:
        """Be as after ``load``; see ``Backend.wake``."""
        return self._holder().wake()

    def close(self) -> None:
        """Release the device and leave the group, without waiting for the other ranks."""
        for backend in (self._generation, self._embedding):
            if backend is not None:
                backend.close()

    def _holder(self) -> TorchBackend | EmbeddingBackend:
        backend = self._generation or self._embedding
        if backend is None:
            raise BackendError(FailureCode.STEP_FAILED, "no model is loaded")
        return backend
