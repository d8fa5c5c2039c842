"""Records as a CUDA graph does, on a CPU: operators with their tensors, and no Python.

A replay computes the same operators, with the numbers that the recording was made with, on the
memory that it was made with; so what Python would do otherwise this time has no effect, as on a
GPU. What a recording GPU forbids is forbidden: waiting for a number, and bringing in one of
Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neuron_runtime.torch_backend.graphs.recorder import Recording

FORBIDDEN = {
    "aten::_local_scalar_dense": "waits for a number",
    "aten::item": "waits for a number",
    "aten::nonzero": "waits for a number",
    "aten::equal": "waits for a number",
    "aten::lift_fresh": "brings in a number of Python's",
}


_Mode: Any = TorchDispatchMode


class Tape(_Mode):
    """What has been computed while it was the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], Mapping[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in FORBIDDEN:
            raise RuntimeError(f"{name} {FORBIDDEN[name]}, which a recording cannot")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, before in self.calls:
            now = func(*args, **kwargs)
            for old, new in zip(_tensors(before), _tensors(now), strict=True):
                # A view, or what was changed in place, is where it was.
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """Implements ``Recorder``; ``fails`` is raised in place of recording, if it is set."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.runs = 0
        self.recordings = 0
        self.cleared = 0

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.runs += 1
        return compute()

    def record(self, compute: Callable[[], object]) -> Recording:
        if self.fails is not None:
            raise self.fails
        tape = Tape()
        with tape:
            compute()
        self.recordings += 1
        return tape

    def clear(self) -> None:
        self.cleared += 1


def _tensors(result: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
