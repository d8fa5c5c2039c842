"""Whether a model's decode steps are recorded, and by what."""

from __future__ import annotations

import logging
from typing import Any

import torch

from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.graphs.cuda_recorder import CudaRecorder
from neuron_runtime.torch_backend.graphs.recorder import Recorder

_log = logging.getLogger("cortex.torch")


def decode_recorder(
    device: torch.device, collectives: Collectives, *, by_shape: bool
) -> Recorder | None:
    """Return what records on ``device``, or None, with a line in the log if it could have.

    ``by_shape``: nothing in the model's pass depends on numbers, only on shapes.
    """
    refusal = why_not_recorded(device.type, recordable=collectives.recordable, by_shape=by_shape)
    if refusal is None:
        try:
            return CudaRecorder(device)
        except RuntimeError as error:
            refusal = str(error)
    if device.type == "cuda":
        _log.warning("decode steps are not recorded as graphs: %s", refusal)
    return None


def experts_by_shape(config: Any, dtype: torch.dtype) -> bool:
    """Say whether transformers computes a model's experts without asking for numbers.

    In bfloat16 its grouped products do, but they have no shape on the meta device.
    """
    return dtype is torch.bfloat16 and (
        getattr(config, "_experts_implementation", None) == "grouped_mm"
    )


def why_not_recorded(device: str, *, recordable: bool, by_shape: bool) -> str | None:
    """Return why decode steps cannot be recorded, or None. Pure."""
    if device != "cuda":
        return f"a {device} has no graphs"
    if not by_shape:
        return "what the model computes depends on numbers, not only on shapes"
    if not recordable:
        return "what the ranks of this group do together cannot be recorded"
    return None
