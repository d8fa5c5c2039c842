"""The header of a safetensors file, checked against the size of the file; torch-free."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from neuron_runtime.model_errors import SourceCorrupt, SourceNotFound

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """Names of the tensors and how many bytes they take."""

    tensors: frozenset[str]
    data_bytes: int

    @classmethod
    def read(cls, path: Path) -> SafetensorsHeader:
        """Read and check the header of ``path``. Any thread.

        Raises:
            SourceNotFound: There is no such file, or it cannot be read.
            SourceCorrupt: It is no safetensors file, or it is truncated.
        """
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                length = _header_length(path, file.read(8), size)
                header = file.read(length)
        except FileNotFoundError as error:
            raise SourceNotFound(f"there is no file {path}") from error
        except OSError as error:
            raise SourceNotFound(f"{path} cannot be read: {error.strerror}") from error
        return _checked(path, header, size - 8 - length)


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    if len(prefix) < 8:
        raise SourceCorrupt(f"{path} is no safetensors file: it has only {size} bytes")
    length = int(struct.unpack("<Q", prefix)[0])
    if length > MAX_HEADER_BYTES or 8 + length > size:
        raise SourceCorrupt(f"{path} is truncated or no safetensors file: its header does not fit")
    return length


def _checked(path: Path, header: bytes, present: int) -> SafetensorsHeader:
    try:
        entries = msgspec.json.decode(header, type=dict[str, dict[str, Any]])
        entries.pop("__metadata__", None)
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceCorrupt(f"{path} is no safetensors file: its header is malformed") from error
    if end != present:
        raise SourceCorrupt(f"{path} is truncated: {present} of {end} bytes of tensors are there")
    return SafetensorsHeader(frozenset(entries), end)
