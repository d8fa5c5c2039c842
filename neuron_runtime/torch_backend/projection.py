"""A linear layer after the pooling, as sentence-transformers stores it (its ``Dense`` module)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from torch.nn import functional

from neuron_runtime.embedding_recipe import UnknownRecipe
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.torch_backend.shard_reader import ShardReader

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda vectors: vectors,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": functional.gelu,
    "Sigmoid": torch.sigmoid,
}
_LINEAR = "linear"


@final
class Projection:
    """One such layer, in float32.

    Raises:
        ModelFilesError: Its files are missing or malformed, or name an unknown activation.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        config = read_json(folder / CONFIG)
        name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
        if name not in _ACTIVATIONS:
            raise UnknownRecipe(f"{folder / CONFIG}: the activation {name} is not supported")
        self._activation = _ACTIVATIONS[name]
        with ShardReader(folder) as reader:
            self._weight = reader.read(f"{_LINEAR}.weight").to(device, torch.float32)
            has_bias = f"{_LINEAR}.bias" in reader
            self._bias = (
                reader.read(f"{_LINEAR}.bias").to(device, torch.float32) if has_bias else None
            )

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return self._weight.nbytes + (0 if self._bias is None else self._bias.nbytes)

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Project (sequences, inputs) to (sequences, outputs)."""
        return self._activation(functional.linear(vectors, self._weight, self._bias))
