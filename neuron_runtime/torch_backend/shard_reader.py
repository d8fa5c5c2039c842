"""Reads a rank's share of a model's weights straight from its safetensors files."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError, safe_open

from neuron_runtime.model_errors import SourceCorrupt, SourceNotFound
from neuron_runtime.model_files import shard_names
from neuron_runtime.torch_backend.parallel_plan import Cut


class ShardReader:
    """The weights of one model directory; each file is mapped once.

    A tensor or a single part of one is a view of the mapping: only its pages are read, and ranks on
    one host share them. Several parts together are a copy.

    Raises:
        SourceNotFound: A file is missing or cannot be read.
        SourceCorrupt: A file is malformed.
    """

    def __init__(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        self._files: list[Any] = []
        self._file_of: dict[str, Any] = {}
        for name in shard_names(model_dir):
            self._open(model_dir / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file_of.clear()
        self._files.clear()

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._file_of

    def names(self) -> tuple[str, ...]:
        """Return what the tensors in the files are called."""
        return tuple(self._file_of)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the full shape of a tensor.

        Raises:
            SourceCorrupt: There is no such tensor.
        """
        return tuple(self._file(tensor).get_slice(tensor).get_shape())

    def read(self, tensor: str, cut: Cut | None = None) -> torch.Tensor:
        """Return a tensor, or the parts of one of its dimensions that ``cut`` names.

        Raises:
            SourceCorrupt: There is no such tensor, or it cannot be read.
        """
        file = self._file(tensor)
        try:
            if cut is None:
                return _tensor(file.get_tensor(tensor))
            view = file.get_slice(tensor)
            before = (slice(None),) * cut.dim
            parts = [view[(*before, slice(part.start, part.stop))] for part in cut.parts]
        except (SafetensorError, OSError) as error:
            raise SourceCorrupt(f"{self._model_dir}: {tensor} cannot be read: {error}") from error
        return _tensor(parts[0] if len(parts) == 1 else torch.cat(parts, dim=cut.dim))

    def _open(self, path: Path) -> None:
        try:
            file = safe_open(str(path), framework="pt")
        except FileNotFoundError as error:
            # What safetensors says of every file that it cannot open.
            raise SourceNotFound(_why_not(path)) from error
        except (SafetensorError, OSError) as error:
            raise SourceCorrupt(f"{path} cannot be read: {error}") from error
        self._files.append(file)
        self._file_of.update(dict.fromkeys(cast("Any", file).keys(), file))

    def _file(self, tensor: str) -> Any:
        try:
            return self._file_of[tensor]
        except KeyError:
            raise SourceCorrupt(f"{self._model_dir} has no tensor {tensor}") from None


def _why_not(path: Path) -> str:
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} could not be opened"


def _tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"safetensors returned a {type(value).__name__}")
    return value
