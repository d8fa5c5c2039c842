"""The front part of a GGUF file: enough to know that the rest is there, without reading it.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, counts,
key-value pairs, one entry per tensor (name, dimensions, type, offset), padding, tensor data. Only
the front is read: cheap enough for a daemon (some tens of milliseconds), and free of torch.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from neuron_runtime.model_errors import SourceCorrupt, SourceNotFound

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_DIMENSIONS = 8

BLOCKS: dict[int, tuple[int, int]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
}
"""Tensor type to (values per block, bytes per block)."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One entry of the tensor table. ``offset`` counts from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the front part says, checked against the size of the file."""

    version: int
    architecture: str
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @classmethod
    def read(cls, path: Path) -> GgufHeader:
        """Read and check the header of ``path``. Any thread; maps the file, reads only its front.

        Raises:
            SourceNotFound: There is no such file, or it cannot be read.
            SourceCorrupt: It is no GGUF, is truncated, or its table contradicts its size.
        """
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size < len(MAGIC):
                    raise SourceCorrupt(f"{path} is no GGUF file: it has only {size} bytes")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return _Reader(path, data, size).header()
        except FileNotFoundError as error:
            raise SourceNotFound(f"there is no file {path}") from error
        except OSError as error:
            raise SourceNotFound(f"{path} cannot be read: {error.strerror}") from error


class _Reader:
    """A cursor over the front part."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self._path, self._data, self._size, self._at = path, data, size, 0
        self._alignment = DEFAULT_ALIGNMENT
        self._architecture = ""

    def header(self) -> GgufHeader:
        if self._bytes(4) != MAGIC:
            raise SourceCorrupt(f"{self._path} is no GGUF file: it does not start with 'GGUF'")
        version = self._u32()
        if version not in VERSIONS:
            raise SourceCorrupt(f"{self._path} has GGUF version {version}; known are {VERSIONS}")
        tensors, pairs = self._u64(), self._u64()
        for _ in range(pairs):
            self._pair()
        table = tuple(self._tensor() for _ in range(tensors))
        start = -(-self._at // self._alignment) * self._alignment
        self._check(table, start)
        return GgufHeader(version, self._architecture, table, start)

    def _check(self, table: tuple[GgufTensor, ...], start: int) -> None:
        if not table:
            raise SourceCorrupt(f"{self._path} holds no tensors")
        last = max(table, key=lambda tensor: tensor.offset + tensor.nbytes)
        end = start + last.offset + last.nbytes
        if end > self._size:
            raise SourceCorrupt(
                f"{self._path} is truncated: tensor {last.name} ends at byte {end},"
                f" the file at byte {self._size}"
            )

    def _pair(self) -> None:
        key, kind = self._string(), self._u32()
        if key == "general.architecture" and kind == _STRING:
            self._architecture = self._string()
        elif key == "general.alignment" and kind == 4:
            self._alignment = self._u32()
            if self._alignment == 0:
                raise SourceCorrupt(f"{self._path} says that its tensors are aligned to 0 bytes")
        else:
            self._skip(kind, key)

    def _skip(self, kind: int, key: str) -> None:
        if kind == _STRING:
            self._bytes(self._u64())
        elif kind == _ARRAY:
            item, count = self._u32(), self._u64()
            if item in _SCALAR_BYTES:
                self._bytes(count * _SCALAR_BYTES[item])
                return
            if item == _ARRAY:
                raise SourceCorrupt(f"{self._path} has nested arrays under {key}")
            for _ in range(count):
                self._skip(item, key)
        elif kind in _SCALAR_BYTES:
            self._bytes(_SCALAR_BYTES[kind])
        else:
            raise SourceCorrupt(f"{self._path} has an unknown value type {kind} under {key!r}")

    def _tensor(self) -> GgufTensor:
        name, dimensions = self._string(), self._u32()
        if dimensions > _MAX_DIMENSIONS:
            raise SourceCorrupt(f"{self._path}: tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._u64() for _ in range(dimensions))
        kind, offset = self._u32(), self._u64()
        if kind not in BLOCKS:
            raise SourceCorrupt(f"{self._path}: tensor {name!r} has unknown type {kind}")
        values, nbytes = BLOCKS[kind]
        elements = math.prod(shape)
        if elements % values:
            raise SourceCorrupt(f"{self._path}: tensor {name!r} does not fill its blocks")
        return GgufTensor(name, shape, kind, offset, elements // values * nbytes)

    def _bytes(self, count: int) -> bytes:
        """Move on by ``count`` bytes; return the first few of them, which is all that is needed."""
        if self._at + count > self._size:
            raise SourceCorrupt(f"{self._path} is truncated: it ends inside its header")
        start, self._at = self._at, self._at + count
        return self._data[start : start + min(count, 8)]

    def _string(self) -> str:
        length = self._u64()
        start = self._at
        self._bytes(length)
        return self._data[start : start + min(length, 256)].decode("utf-8", "replace")

    def _u32(self) -> int:
        return int(_U32.unpack(self._bytes(4))[0])

    def _u64(self) -> int:
        return int(_U64.unpack(self._bytes(8))[0])
