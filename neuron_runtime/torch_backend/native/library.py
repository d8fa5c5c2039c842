"""The C kernels beside this file, as Python calls them.

They are built when the package is installed, if there is a C compiler and the CPU is an x86-64 one;
where they are missing the torch operators do the same work more slowly.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Final, final

_NAME = "_kernels*.so"

BLOCKS: Final = range(8, 65, 8)
"""How many tokens a block of keys and values may hold: eight are read at once, at most 64 are
scored."""


class LinearStruct(ctypes.Structure):
    """``cx_linear``: a packed weight."""

    _fields_ = (
        ("format", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("groups", c_int32),
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("minimum", c_void_p),
        ("bias", c_void_p),
    )


class CacheStruct(ctypes.Structure):
    """``cx_cache``: the keys and values of one layer."""

    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("half", c_int32),
        ("kv_heads", c_int32),
        ("dim", c_int32),
        ("block_tokens", c_int32),
    )


class LayerStruct(ctypes.Structure):
    """``cx_layer``."""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("qkv", LinearStruct),
        ("output", LinearStruct),
        ("gate_up", LinearStruct),
        ("down", LinearStruct),
        ("cache", CacheStruct),
        ("window", c_int32),
    )


class ModelStruct(ctypes.Structure):
    """``cx_model``."""

    _fields_ = (
        ("layers", c_int32),
        ("hidden", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("dim", c_int32),
        ("rotary", c_int32),
        ("intermediate", c_int32),
        ("vocabulary", c_int32),
        ("epsilon", c_float),
        ("scale", c_float),
        ("layer", POINTER(LayerStruct)),
        ("norm", c_void_p),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("head", LinearStruct),
    )


class BatchStruct(ctypes.Structure):
    """``cx_batch``."""

    _fields_ = (
        ("rows", c_int32),
        ("logit_rows", c_int32),
        ("table_stride", c_int32),
        ("position", c_void_p),
        ("table_of", c_void_p),
        ("tables", c_void_p),
        ("logit_row", c_void_p),
    )


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "cx_supported": (c_int32, ()),
    "cx_use_avx512": (c_int32, (c_int32,)),
    "cx_pool_new": (c_void_p, (c_int32,)),
    "cx_pool_free": (None, (c_void_p,)),
    "cx_packed_bytes": (c_int64, (c_int32, c_int32, c_int32)),
    "cx_pack": (
        None,
        (c_int32, c_int32, c_void_p, c_int32, c_int32, c_void_p, c_void_p, c_void_p),
    ),
    "cx_linear_forward": (
        c_int32,
        (c_void_p, POINTER(LinearStruct), c_void_p, c_int32, c_void_p),
    ),
    "cx_attention": (
        c_int32,
        (
            c_void_p,
            POINTER(CacheStruct),
            POINTER(BatchStruct),
            c_void_p,
            c_void_p,
            c_void_p,
            c_int32,
            c_int32,
            c_float,
            c_void_p,
        ),
    ),
    "cx_forward": (
        c_int32,
        (c_void_p, POINTER(ModelStruct), POINTER(BatchStruct), c_void_p, c_void_p),
    ),
}


@cache
def kernels() -> Any | None:
    """Return the loaded library, or None where it was not built or this CPU cannot run it."""
    for path in sorted(Path(__file__).parent.glob(_NAME)):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        if library.cx_supported():
            library.cx_use_avx512(True)
            return library
    return None


@final
class Threads:
    """Threads that share the work of one call; idle between calls. One caller at a time."""

    def __init__(self, library: Any, count: int) -> None:
        self._library = library
        self.count = count
        self.handle: int | None = library.cx_pool_new(count)
        if not self.handle:
            raise MemoryError("no threads could be started")

    def close(self) -> None:
        """End the threads; idempotent."""
        handle, self.handle = self.handle, None
        if handle:
            self._library.cx_pool_free(handle)

    def __del__(self) -> None:
        self.close()
