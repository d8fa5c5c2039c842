"""A GPU that is not there: tensors say that they are on it, and a CPU computes their numbers.

An operator of tensors on two devices raises, as on a GPU. What makes the host wait for the device
is written down, and raises while a graph is recorded.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention.bias import causal_lower_right
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from neuron_runtime.torch_backend import backend, embedding_backend
from neuron_runtime.torch_backend.attention import fused_attention
from neuron_runtime.torch_backend.graphs import choice
from neuron_runtime.torch_backend.graphs.recorder import Recording

GPU = torch.device("cuda", 0)
_FREE_BYTES = 8 << 30
_WAITS = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero")
}
_BY_INDEX = {"aten::index", "aten::index_put", "aten::index_put_"}
_WHOLE = {"aten::linear", "aten::matmul", "aten::scaled_dot_product_attention"}
_Mode: Any = TorchDispatchMode
_Tensor: Any = torch.Tensor


class _OnGpu(_Tensor):
    """Its numbers are those of ``inner``."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor) -> Any:
        made = _Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=GPU,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{func} of what is on a pretended GPU that has gone")

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> list[Any]:
        numbers: list[Any] = self.cpu().tolist()
        return numbers


class PretendedGpu(_Mode):
    """``waits`` are the source files that made the host wait; ``recordings`` is their number."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.recordings = 0
        self._records = False
        self._pinned: set[int] = set()

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()

    def record(self, compute: Callable[[], object]) -> Recording:
        self._records = True
        try:
            compute()
        finally:
            self._records = False
        self.recordings += 1
        return _Again(compute)

    def clear(self) -> None:
        """Nothing is shared."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name.endswith("pin_memory"):
            return _Pinned(args[0].clone())
        if name == "aten::is_pinned":
            return isinstance(args[0], _Pinned)
        if name not in _WHOLE and _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        flat, spec = tree_flatten((args, kwargs))
        tensors = [each for each in flat if isinstance(each, torch.Tensor)]
        there = {id(each.inner): each for each in tensors if isinstance(each, _OnGpu)}
        wanted = kwargs.get("device")
        goes_there = bool(there) if wanted is None else torch.device(wanted).type == "cuda"
        self._check(name, args, kwargs, tensors, goes_there)
        if not there and not goes_there:
            return func(*args, **kwargs)
        plain = (each.inner if isinstance(each, _OnGpu) else each for each in flat)
        args, kwargs = tree_unflatten(plain, spec)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        if name == "aten::histc":
            # A CPU has it for floating numbers only, a GPU for others too.
            args = (args[0].float(), *args[1:])
        result = func(*args, **kwargs)
        if not goes_there or name == "aten::_local_scalar_dense":
            return result
        return tree_map(lambda each: _there(each, there), result)

    def _check(
        self, name: str, args: Any, kwargs: Any, tensors: list[torch.Tensor], goes_there: bool
    ) -> None:
        here = [each for each in tensors if not isinstance(each, _OnGpu)]
        if name in {"aten::_to_copy", "aten::copy_"}:
            source = args[-1] if name == "aten::copy_" and len(args) == 2 else tensors[-1]
            to_there = isinstance(args[0], _OnGpu) if name == "aten::copy_" else goes_there
            if to_there != isinstance(source, _OnGpu):
                at_leisure = kwargs.get("non_blocking") or args[2:] == (True,)
                if not (to_there and at_leisure and isinstance(source, _Pinned)):
                    self._wait(name)
            return
        if len(here) == len(tensors):
            return
        if mixed := [tuple(each.shape) for each in here if each.dim()]:
            raise RuntimeError(f"{name} of tensors on a GPU and of one on the CPU: {mixed}")
        if name in _WAITS:
            self._wait(name)
        if name in _BY_INDEX and any(i is not None and not i.dtype.itemsize > 1 for i in args[1]):
            self._wait(f"{name} with a mask")

    def _wait(self, name: str) -> None:
        frame: Any = sys._getframe()
        while frame.f_back and "neuron_runtime" not in frame.f_code.co_filename:
            frame = frame.f_back
        self.waits.append(Path(frame.f_code.co_filename).name)
        if self._records:
            raise RuntimeError(f"{name} waits for the device, which a recording cannot")


class _Pinned(_Tensor):
    """Is page-locked, if one believes it."""

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Again:
    """A recording that computes anew; that others hold what they should, the tape shows."""

    def __init__(self, compute: Callable[[], object]) -> None:
        self._compute = compute

    def replay(self) -> None:
        self._compute()


@contextmanager
def pretend_a_gpu(patch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """Have ranks that load meanwhile find one GPU, ``cuda:0``."""
    gpu = PretendedGpu()

    def causal_without_modes(*sizes: int) -> Any:
        # A mode would make another tensor of what is to be one of torch's own kind.
        with _disable_current_modes():
            return causal_lower_right(*sizes)

    patch.setattr(fused_attention, "causal_lower_right", causal_without_modes)
    patch.setattr(choice, "CudaRecorder", lambda _: gpu)
    for module in (backend, embedding_backend):
        patch.setattr(module, "open_device", lambda _: GPU)
    patch.setattr(torch.cuda, "_lazy_init", lambda: None)
    patch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    patch.setattr(torch.cuda, "mem_get_info", lambda _: (_FREE_BYTES, _FREE_BYTES))
    # A parameter that was on the CPU cannot become one of ours.
    patch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    # Without it ``torch.tensor`` would ask for memory of the device itself.
    torch._C._set_only_lift_cpu_tensors(True)
    guards, guard = _device_guards()
    try:
        guards[_CUDA] = guards[_CPU]
        # Views of the pretended tensors want to know at once whether anything is ever trained.
        with torch.inference_mode(), gpu:
            yield gpu
    finally:
        guards[_CUDA] = guard
        torch._C._set_only_lift_cpu_tensors(False)


_CPU, _CUDA = 0, 1


def _device_guards() -> tuple[Any, int | None]:
    """Return what makes a kind of device the current one, in torch's order, and CUDA's own."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    return guards, guards[_CUDA]


def _is_composite(func: Any) -> bool:
    has: Any = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(has(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd))


def _there(result: Any, known: dict[int, _OnGpu]) -> Any:
    if not isinstance(result, torch.Tensor):
        return result
    # What was changed in place is the same tensor as before.
    return known.get(id(result)) if id(result) in known else _OnGpu(result)
