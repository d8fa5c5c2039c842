"""A model's files on this host, as a source led to them; torch-free."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from neuron_runtime.gguf_header import GgufHeader
from neuron_runtime.model_errors import SourceCorrupt, SourceNotFound
from neuron_runtime.safetensors_header import SafetensorsHeader

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
_STORED_BYTES_PER_VALUE = 2
_TOKENIZER_BYTES = 64 << 20


class Layout(Enum):
    """How the files lie."""

    GGUF = "gguf"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One GGUF file, which has to be converted, or a directory that can be served as it is."""

    path: Path
    layout: Layout

    def verify(self) -> None:
        """Check that everything is there, without reading tensors. Any thread; takes some 0.1 s.

        Raises:
            SourceNotFound: A file is missing or cannot be read.
            SourceCorrupt: A file is truncated or contradicts itself.
        """
        if self.layout is Layout.GGUF:
            GgufHeader.read(self.path)
        else:
            read_json(self.path / CONFIG)
            for shard in shard_names(self.path):
                SafetensorsHeader.read(self.path / shard)

    def identity(self) -> str:
        """Return a digest that changes whenever the file is another one.

        Raises:
            SourceNotFound: The file is gone.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise SourceNotFound(f"there is no file {self.path}") from error
        words = f"{self.path}\0{stat.st_size}\0{stat.st_mtime_ns}"
        return hashlib.sha256(words.encode()).hexdigest()

    def converted_bytes(self) -> int:
        """Estimate what the converted model takes on disk; 0 if nothing has to be converted.

        Raises:
            ModelFilesError: As ``verify``.
        """
        if self.layout is Layout.DIRECTORY:
            return 0
        values = sum(tensor.elements for tensor in GgufHeader.read(self.path).tensors)
        return values * _STORED_BYTES_PER_VALUE + _TOKENIZER_BYTES


def shard_names(directory: Path) -> tuple[str, ...]:
    """Return the names of a directory's safetensors files, one or those of its index.

    Raises:
        SourceNotFound: It holds neither weights nor an index.
        SourceCorrupt: The index is malformed.
    """
    if (directory / WEIGHTS).exists():
        return (WEIGHTS,)
    if not (directory / WEIGHTS_INDEX).exists():
        raise SourceNotFound(f"{directory} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}")
    weight_map = read_json(directory / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceCorrupt(f"{directory / WEIGHTS_INDEX} has no weight_map")
    return tuple(sorted({str(name) for name in weight_map.values()}))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        SourceNotFound: There is no such file, or it cannot be read.
        SourceCorrupt: It holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as error:
        raise SourceNotFound(f"there is no file {path}") from error
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SourceCorrupt(f"{path} is no JSON object: {error}") from error
