"""Decode steps as recordings, one for each shape, made when the shape first comes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch

from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.graphs.decode_layout import (
    LEAST_BLOCKS,
    DecodeInputs,
    DecodeLayout,
    DecodeShape,
)
from neuron_runtime.torch_backend.graphs.recorder import NoRoom, Recorder, Recording
from neuron_runtime.torch_backend.moved import moved

_log = logging.getLogger("cortex.torch")

MOST_GRAPHS: Final = 64
_TOLERANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Graph:
    packed: torch.Tensor
    logits: torch.Tensor
    recording: Recording


@final
class DecodeGraphs:
    """Computes the steps that fit a graph. Main thread only, in inference mode.

    The first step of a shape is computed as any other, in its padded form, and recorded afterwards.
    So each step is one pass over the model whatever becomes of its recording: ranks of a group stay
    in step even if only some of them can record.

    Args:
        compute: The model's pass, from inputs to logits [rows, vocabulary]. Nothing but its
            inputs may differ from one call to the next.
        recorder: What records on this device.
        layout: How batches become inputs.
        device: Where inputs are.
    """

    def __init__(
        self,
        compute: Callable[[DecodeInputs], torch.Tensor],
        recorder: Recorder,
        layout: DecodeLayout,
        device: torch.device,
    ) -> None:
        self._compute, self._recorder = compute, recorder
        self._layout, self._device = layout, device
        self._graphs: OrderedDict[DecodeShape, _Graph] = OrderedDict()
        self._logits: dict[int, torch.Tensor] = {}
        self._records = True

    def __len__(self) -> int:
        return len(self._graphs)

    def forward(self, batch: Batch) -> torch.Tensor | None:
        """Return a batch's logits, which hold until the next call, or None: compute it as usual.

        Raises:
            torch.OutOfMemoryError: As the model's pass does.
        """
        shape = self._layout.shape(batch)
        if shape is None or not (self._records or shape in self._graphs):
            return None
        packed = self._layout.packed(batch, shape)
        return self._computed(shape, packed)[: len(batch.tokens)]

    def rehearse(self) -> None:
        """Record and replay the least shape, without a sequence; record no more if that fails."""
        shape = DecodeShape(1, LEAST_BLOCKS)
        try:
            self._computed(shape, self._layout.blank(shape, 0))
            packed = self._layout.blank(shape, 1)
            replayed = self._computed(shape, packed).clone()
            inputs = self._layout.inputs(moved(packed, self._device), shape)
            wanted = self._compute(inputs)
            error = (replayed - wanted).abs().max() / wanted.abs().max()
            # Not a number is no less than anything.
            if not error.item() <= _TOLERANCE:
                self._give_up(f"a replay is off by {error.item():.3g}")
        except Exception as error:  # noqa: BLE001 - whatever it is, a model can do without graphs
            self._give_up(_told(error))

    def drop(self) -> None:
        """Forget all recordings and give their memory back; shapes are recorded anew."""
        self._graphs.clear()
        self._logits.clear()
        self._recorder.clear()

    def _computed(self, shape: DecodeShape, packed: torch.Tensor) -> torch.Tensor:
        graph = self._graphs.get(shape)
        if graph is None:
            return self._first(shape, packed)
        self._graphs.move_to_end(shape)
        graph.packed.copy_(moved(packed, self._device))
        graph.recording.replay()
        return graph.logits

    def _first(self, shape: DecodeShape, packed: torch.Tensor) -> torch.Tensor:
        packed = moved(packed, self._device)

        def compute() -> torch.Tensor:
            return self._compute(self._layout.inputs(packed, shape))

        logits = self._recorder.run(compute)
        if self._records:
            self._record(shape, packed, compute, logits)
        return logits

    def _record(
        self,
        shape: DecodeShape,
        packed: torch.Tensor,
        compute: Callable[[], torch.Tensor],
        like: torch.Tensor,
    ) -> None:
        """Record ``compute``; the logits of all shapes with as many rows have one place."""
        try:
            logits = self._logits.setdefault(shape.rows, torch.empty_like(like))
            recording = self._recorder.record(lambda: logits.copy_(compute()))
        except NoRoom as error:
            self._records = False
            _log.warning("no more decode graphs than %d: %s", len(self), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step has been computed
            self._give_up(_told(error))
        else:
            self._graphs[shape] = _Graph(packed, logits, recording)
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)

    def _give_up(self, why: str) -> None:
        if self._records:
            _log.warning("decode steps are not recorded as graphs: %s", why)
        self._records = False
        self.drop()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
