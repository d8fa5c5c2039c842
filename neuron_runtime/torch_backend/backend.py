"""A rank that computes with torch: transformers' modules and a cache per sequence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

import torch
from transformers.cache_utils import DynamicCache

from neuron_runtime.backends.base import BackendError, OnCollective
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.torch_backend.collectives import Collectives, join
from neuron_runtime.torch_backend.cpu_mesh import MeshError
from neuron_runtime.torch_backend.device import choose_dtype, open_device
from neuron_runtime.torch_backend.model_builder import BuiltModel, build_model
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from neuron_runtime.torch_backend.sampler import sample_token
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.schemas.group import (
    LoadShard,
    SampledToken,
    SequenceStep,
    ShardLoaded,
    Step,
    StepDone,
)

FEW_TOKENS = 8
SHARED_BYTES = 4 << 20
"""PERF: to wake threads for a decode step's product takes longer than one thread needs for fewer
bytes (SmolLM2 with two threads: 45 ms a token, with one 28 ms)."""

_GENERATION_CONFIG = "generation_config.json"


@final
class TorchBackend:
    """One rank's shard of a model and the keys and values of its sequences.

    Args:
        on_collective: Called in every step, just before the forward pass.
        clock: Monotonic time, for the load's duration only.
    """

    def __init__(self, *, on_collective: OnCollective, clock: Clock | None = None) -> None:
        self._on_collective = on_collective
        self._clock = clock or MonotonicClock()
        self._collectives: Collectives | None = None
        self._model: BuiltModel | None = None
        self._device = torch.device("cpu")
        self._threads = self._decode_threads = 1
        self._caches: dict[int, Any] = {}

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Join the group and load this rank's weights.

        Raises:
            BackendError: No such device, dtype or quantisation; the other ranks did not come; the
                files are missing, corrupt or of an unknown architecture; the model does not divide.
        """
        started = self._clock.now()
        if shard.quant != "none":
            raise BackendError(
                FailureCode.LOAD_FAILED, f"quant {shard.quant!r} is not supported; use none"
            )
        self._threads = _threads(shard)
        torch.set_num_threads(self._threads)
        self._device = open_device(shard.device)
        dtype = choose_dtype(shard.dtype, self._device)
        self._collectives = join(shard, self._device)
        try:
            model = build_model(Path(shard.model_dir), self._collectives, self._device, dtype)
            eos = _eos_token_ids(Path(shard.model_dir))
        except PlacementError as error:
            raise BackendError(error.code, str(error)) from error
        except ModelFilesError as error:
            raise BackendError(error.code, f"rank {shard.rank}: {error}") from error
        self._model = model
        self._decode_threads = _decode_threads(model, self._threads)
        return ShardLoaded(
            rank=shard.rank,
            weight_bytes=model.weight_bytes,
            load_s=self._clock.now() - started,
            context_length=model.context_length,
            eos_token_ids=eos,
        )

    def step(self, step: Step, masks: bytes = b"") -> StepDone:  # noqa: ARG002
        """Forget, then feed every sequence; rank 0 samples where asked to.

        Raises:
            BackendError: A sequence continues at a position that its cache has not reached, has no
                tokens or unknown ones, or gets longer than the context: no cache has changed then.
                Or another rank is gone: this one is of no use any more.
        """
        model, rank = self._loaded()
        for sequence in step.forget:
            self._caches.pop(sequence, None)
        for part in step.sequences:
            self._check(part, model)
        self._on_collective()
        tokens: list[SampledToken] = []
        try:
            with torch.inference_mode():
                for part in step.sequences:
                    logits = self._forward(part, model)
                    if part.sample is not None and rank == 0:
                        token = sample_token(logits, part.sample)
                        tokens.append(SampledToken(part.sequence, token))
        except MeshError as error:
            raise BackendError(FailureCode.WORKER_DIED, f"rank {rank}: {error}") from error
        return StepDone(step.step, rank, tuple(tokens))

    def clear(self) -> None:
        """Drop every sequence's keys and values."""
        self._caches.clear()

    def close(self) -> None:
        """Drop model and caches and leave the group, without waiting for the other ranks."""
        self._caches.clear()
        self._model = None
        if self._collectives is not None:
            self._collectives.leave()
            self._collectives = None

    def _loaded(self) -> tuple[BuiltModel, int]:
        if self._model is None or self._collectives is None:
            raise BackendError(FailureCode.STEP_FAILED, "no model is loaded")
        return self._model, self._collectives.rank

    def _check(self, part: SequenceStep, model: BuiltModel) -> None:
        cache = self._caches.get(part.sequence)
        reached = 0 if cache is None else cache.get_seq_length()
        if part.position != reached:
            raise BackendError(
                FailureCode.STEP_FAILED,
                f"sequence {part.sequence} is at position {reached}, not {part.position}",
            )
        if not part.tokens:
            raise BackendError(FailureCode.STEP_FAILED, f"sequence {part.sequence} has no tokens")
        if min(part.tokens) < 0 or max(part.tokens) >= model.vocabulary:
            raise BackendError(
                FailureCode.INVALID_REQUEST,
                f"sequence {part.sequence} has a token that is not among the"
                f" {model.vocabulary} of the model",
            )
        end = part.position + len(part.tokens)
        if 0 < model.context_length < end:
            raise BackendError(
                FailureCode.CONTEXT_LENGTH_EXCEEDED,
                f"{end} tokens exceed the context of {model.context_length}",
            )

    def _forward(self, part: SequenceStep, model: BuiltModel) -> torch.Tensor:
        """Feed one sequence; return the logits after its last token (of use on rank 0 only)."""
        cache = self._caches.get(part.sequence)
        if cache is None:
            cache = self._caches[part.sequence] = DynamicCache(config=model.config)
        few = len(part.tokens) <= FEW_TOKENS
        torch.set_num_threads(self._decode_threads if few else self._threads)
        tokens = torch.tensor([part.tokens], device=self._device)
        output = model.module(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits[0, -1]
        return logits


def _decode_threads(model: BuiltModel, threads: int) -> int:
    return threads if model.bytes_per_linear >= SHARED_BYTES else 1


def _threads(shard: LoadShard) -> int:
    return shard.threads if shard.threads > 0 else max(1, (os.cpu_count() or 1) // shard.world_size)


def _eos_token_ids(model_dir: Path) -> tuple[int, ...]:
    """Return the tokens that end an output: the generation config's, else the model's."""
    generation = model_dir / _GENERATION_CONFIG
    ids = read_json(generation).get("eos_token_id") if generation.exists() else None
    if ids is None:
        ids = read_json(model_dir / CONFIG).get("eos_token_id")
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (int(ids),)
