"""A rank that computes with torch: one batch a step, over a paged cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

import msgspec
import torch

from neuron_runtime.backends.base import BackendError, OnCollective
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.block_tables import BlockTables
from neuron_runtime.torch_backend.collectives import Collectives, join
from neuron_runtime.torch_backend.device import choose_dtype, choose_threads, open_device
from neuron_runtime.torch_backend.model_builder import BuiltModel, build_model
from neuron_runtime.torch_backend.parked_tensors import leftover_bytes
from neuron_runtime.torch_backend.rank_errors import load_errors, step_errors
from neuron_runtime.torch_backend.sampler import DrawRequest, Sampler
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.schemas.group import (
    LoadShard,
    SampledToken,
    SequenceStep,
    ShardAsleep,
    ShardLoaded,
    Step,
    StepDone,
)

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
        self._tables = BlockTables(0, 1)
        self._sampler = Sampler()
        self._ready: ShardLoaded | None = None
        self._asleep = False
        self._device = torch.device("cpu")

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Join the group and load this rank's weights.

        Raises:
            BackendError: No such device, dtype or quantisation; the other ranks did not come; the
                files are missing, corrupt or of an unknown architecture; the model does not divide;
                there is no room for keys and values.
        """
        started = self._clock.now()
        if shard.quant not in ("none", "int8", "int4"):
            raise BackendError(
                FailureCode.LOAD_FAILED, f"there is no quant {shard.quant!r}; use none, int8, int4"
            )
        threads = choose_threads(shard)
        torch.set_num_threads(threads)
        device = open_device(shard.device)
        dtype = choose_dtype(shard.dtype, device)
        self._collectives = join(shard, device)
        with load_errors(shard.rank):
            model = build_model(shard, self._collectives, device, dtype, threads)
            eos = _eos_token_ids(Path(shard.model_dir))
        self._model = model
        self._tables = BlockTables(model.cache.blocks, shard.block_tokens)
        self._device = device
        self._ready = ShardLoaded(
            rank=shard.rank,
            weight_bytes=model.runner.weight_bytes,
            load_s=self._clock.now() - started,
            context_length=model.context_length,
            eos_token_ids=eos,
            kv_blocks=model.cache.blocks,
            kv_bytes=model.cache.held_bytes,
            short_context=model.short_context,
        )
        return self._ready

    def step(self, step: Step, masks: bytes = b"") -> StepDone:
        """Forget, then feed all sequences at once; rank 0 samples where asked to.

        ``masks`` are the rows of the sequences that are ``masked``, see ``Step``.

        Raises:
            BackendError: A sequence does not continue where it was, has no tokens or unknown ones,
                or gets longer than the context: no table has changed then. There is no memory for
                the step. Or another rank is gone: this one is of no use any more.
        """
        model, rank = self._loaded()
        for sequence in step.forget:
            self._tables.forget(sequence)
        for part in step.sequences:
            self._check(part, model)
        self._on_collective()
        if not step.sequences:
            return StepDone(step.step, rank)
        batch = self._batch(step)
        with step_errors(rank), torch.inference_mode():
            logits = model.runner.forward(batch)
            tokens = self._draw(step, logits, masks) if rank == 0 and len(batch.wanted) else ()
        return StepDone(step.step, rank, tokens)

    def clear(self) -> None:
        """Drop every sequence's table."""
        self._tables.clear()

    def sleep(self) -> ShardAsleep:
        """Drop keys and values and move the weights to host memory; see ``Backend.sleep``."""
        model, rank = self._loaded()
        self._asleep = True
        self._tables.clear()
        model.cache.release()
        with step_errors(rank):
            model.runner.sleep()
        return ShardAsleep(rank, leftover_bytes(self._device))

    def wake(self) -> ShardLoaded:
        """Be as after ``load``, with empty keys and values; see ``Backend.wake``."""
        started = self._clock.now()
        if self._model is None or self._ready is None or not self._asleep:
            raise BackendError(FailureCode.STEP_FAILED, "no model sleeps here")
        with step_errors(self._ready.rank):
            self._model.cache.allocate()
            self._model.runner.wake()
        self._asleep = False
        return msgspec.structs.replace(self._ready, load_s=self._clock.now() - started)

    def close(self) -> None:
        """Drop model and cache and leave the group, without waiting for the other ranks."""
        self._tables.clear()
        if self._model is not None:
            self._model.runner.close()
            self._model = None
        if self._collectives is not None:
            self._collectives.leave()
            self._collectives = None

    def _loaded(self) -> tuple[BuiltModel, int]:
        if self._model is None or self._collectives is None or self._asleep:
            raise BackendError(FailureCode.STEP_FAILED, "no model is loaded, or it sleeps")
        return self._model, self._collectives.rank

    def _check(self, part: SequenceStep, model: BuiltModel) -> None:
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
        self._tables.check(part)

    def _batch(self, step: Step) -> Batch:
        spans: list[Span] = []
        tokens: list[int] = []
        wanted: list[int] = []
        for part in step.sequences:
            known = self._tables.extend(part)
            start = len(tokens)
            tokens += part.tokens
            spans.append(Span(start, len(tokens), part.position, known.slot, part.long))
            if part.sample is not None:
                wanted.append(len(tokens) - 1)
        return Batch.of(tuple(spans), tokens, wanted, self._tables.matrix)

    def _draw(self, step: Step, logits: torch.Tensor, masks: bytes) -> tuple[SampledToken, ...]:
        rows = _mask_rows(masks, sum(bool(p.sample and p.sample.masked) for p in step.sequences))
        requests = [
            DrawRequest(
                part.sequence,
                part.sample,
                self._tables[part.sequence].known,
                next(rows) if part.sample.masked else None,
            )
            for part in step.sequences
            if part.sample is not None
        ]
        return tuple(self._sampler.draw(logits, requests))


def _mask_rows(masks: bytes, count: int) -> Iterator[bytes]:
    if count == 0:
        return iter(())
    if not masks or len(masks) % count:
        raise BackendError(
            FailureCode.STEP_FAILED, f"{len(masks)} bytes are no masks for {count} sequences"
        )
    width = len(masks) // count
    return (masks[start : start + width] for start in range(0, len(masks), width))


def _eos_token_ids(model_dir: Path) -> tuple[int, ...]:
    """Return the tokens that end an output: the generation config's, else the model's."""
    generation = model_dir / _GENERATION_CONFIG
    ids = read_json(generation).get("eos_token_id") if generation.exists() else None
    if ids is None:
        ids = read_json(model_dir / CONFIG).get("eos_token_id")
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (int(ids),)
