"""A rank of a model that makes embeddings. Every step stands alone: nothing is kept."""

from __future__ import annotations

from pathlib import Path
from typing import final

import msgspec
import torch

from neuron_runtime.backends.base import BackendError, OnCollective
from neuron_runtime.torch_backend.collectives import Collectives, join
from neuron_runtime.torch_backend.device import choose_dtype, choose_threads, open_device
from neuron_runtime.torch_backend.embedding_model import EmbeddingModel, load_embedding_model
from neuron_runtime.torch_backend.parked_tensors import (
    ParkedTensors,
    leftover_bytes,
    tensors_of,
)
from neuron_runtime.torch_backend.rank_errors import load_errors, step_errors
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.schemas.group import EmbedStep, EmbedStepDone, LoadShard, ShardAsleep, ShardLoaded


@final
class EmbeddingBackend:
    """One rank's part of the model.

    Args:
        on_collective: Called in every step, just before the forward pass.
        clock: Monotonic time, for the load's duration only.
    """

    def __init__(self, *, on_collective: OnCollective, clock: Clock | None = None) -> None:
        self._on_collective = on_collective
        self._clock = clock or MonotonicClock()
        self._collectives: Collectives | None = None
        self._model: EmbeddingModel | None = None
        self._ready: ShardLoaded | None = None
        self._parked: ParkedTensors | None = None
        self._asleep = False

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Join the group and load this rank's weights.

        Raises:
            BackendError: No such device, dtype or quantisation; the other ranks did not come; the
                files are missing, corrupt or of an unknown kind; the model does not divide.
        """
        started = self._clock.now()
        if shard.quant != "none":
            raise BackendError(
                FailureCode.LOAD_FAILED,
                f"a model for embeddings is not quantised to {shard.quant!r}; use none",
            )
        torch.set_num_threads(choose_threads(shard))
        device = open_device(shard.device)
        dtype = _dtype(shard.dtype, device)
        self._collectives = join(shard, device)
        with load_errors(shard.rank):
            model = load_embedding_model(Path(shard.model_dir), self._collectives, device, dtype)
        self._model = model
        self._ready = ShardLoaded(
            rank=shard.rank,
            weight_bytes=model.weight_bytes,
            load_s=self._clock.now() - started,
            context_length=model.context_length,
        )
        return self._ready

    def embed(self, step: EmbedStep) -> tuple[EmbedStepDone, bytes]:
        """Return one row of little-endian float32 for each sequence; none but on rank 0.

        Raises:
            BackendError: A sequence is empty, too long, or has a token that there is not; the
                vectors are no numbers; there is no memory for the step. Or another rank is gone:
                this one is of no use any more.
        """
        model, rank = self._loaded()
        for sequence in step.sequences:
            _check(sequence, model)
        self._on_collective()
        if not step.sequences:
            return EmbedStepDone(step.step, rank), b""
        with step_errors(rank):
            vectors = model.embed(step.sequences)
        # Every rank has the same vectors, so that all of them fail alike.
        if not bool(torch.isfinite(vectors).all()):
            raise BackendError(FailureCode.STEP_FAILED, "the model's vectors are not finite")
        if rank != 0:
            return EmbedStepDone(step.step, rank), b""
        rows: bytes = vectors.cpu().numpy().astype("<f4").tobytes()
        return EmbedStepDone(step.step, rank, vectors.shape[1]), rows

    def sleep(self) -> ShardAsleep:
        """Move the weights to host memory, unless they are there; see ``Backend.sleep``."""
        model, rank = self._loaded()
        self._asleep = True
        if model.device.type != "cpu":
            with step_errors(rank):
                self._parked = ParkedTensors(
                    tensors_of(model.module, *model.projections), model.device
                )
        return ShardAsleep(rank, leftover_bytes(model.device))

    def wake(self) -> ShardLoaded:
        """Move the weights back; see ``Backend.wake``."""
        started = self._clock.now()
        if self._ready is None or not self._asleep:
            raise BackendError(FailureCode.STEP_FAILED, "no model sleeps here")
        if self._parked is not None:
            with step_errors(self._ready.rank):
                self._parked.restore()
            self._parked = None
        self._asleep = False
        return msgspec.structs.replace(self._ready, load_s=self._clock.now() - started)

    def close(self) -> None:
        """Drop the model and leave the group, without waiting for the other ranks."""
        self._model = None
        if self._collectives is not None:
            self._collectives.leave()
            self._collectives = None

    def _loaded(self) -> tuple[EmbeddingModel, int]:
        if self._model is None or self._collectives is None or self._asleep:
            raise BackendError(FailureCode.STEP_FAILED, "no model is loaded, or it sleeps")
        return self._model, self._collectives.rank


def _check(sequence: tuple[int, ...], model: EmbeddingModel) -> None:
    if not sequence:
        raise BackendError(FailureCode.INVALID_REQUEST, "an input has no tokens")
    if min(sequence) < 0 or max(sequence) >= model.vocabulary:
        raise BackendError(
            FailureCode.INVALID_REQUEST,
            f"an input has a token that is not among the {model.vocabulary} of the model",
        )
    if 0 < model.context_length < len(sequence):
        raise BackendError(
            FailureCode.CONTEXT_LENGTH_EXCEEDED,
            f"this model's maximum context length is {model.context_length} tokens, but an input"
            f" has {len(sequence)} tokens",
        )


def _dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Return the precision; on a GPU, ``auto`` is the one that the weights are stored in.

    Vectors are compared with those of the same model elsewhere, so none is made coarser unasked.
    """
    if name == "auto" and device.type == "cuda":
        return None
    return choose_dtype(name, device)
