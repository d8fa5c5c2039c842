"""How a model makes one vector of a text, as sentence-transformers' files say; torch-free.

``modules.json`` lists the steps in order, each with a folder of its own. A step that is not known
here would change the vectors, so it is refused, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from neuron_runtime.model_errors import ModelFilesError, SourceCorrupt
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.model_kind import MODULES

_LIMITS = "sentence_*_config.json"


class Pooling(StrEnum):
    """Which of the last layer's states become the vector."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    LAST = "lasttoken"


_OLD_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS.value,
    "pooling_mode_mean_tokens": Pooling.MEAN.value,
    "pooling_mode_max_tokens": Pooling.MAX.value,
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": Pooling.LAST.value,
}


class UnknownRecipe(ModelFilesError):
    """The model's vectors are made in a way that is not known here."""


class _Module(msgspec.Struct):
    type: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddingRecipe:
    """What follows the transformer; in the end every vector gets length 1.

    ``pooling`` is None if the files do not say: the architecture decides. ``projections`` are the
    folders of linear layers that are applied to the pooled vector. ``max_tokens`` is the longest
    input that the model was made for, None if the files do not say.
    """

    pooling: Pooling | None = None
    projections: tuple[str, ...] = ()
    max_tokens: int | None = None

    @classmethod
    def load(cls, model_dir: Path) -> EmbeddingRecipe:
        """Read the recipe of the model in ``model_dir``.

        Raises:
            ModelFilesError: A file cannot be read, or asks for what is not known.
        """
        pooling: Pooling | None = None
        projections: list[str] = []
        for module in _modules(model_dir):
            folder = _folder(model_dir, module)
            match module.type.rpartition(".")[2]:
                case "Transformer" if not module.path:
                    pass
                case "Pooling":
                    pooling = _pooling(folder / CONFIG)
                case "Dense" if pooling is not None:
                    projections.append(module.path)
                case "Normalize":
                    pass
                case name:
                    raise UnknownRecipe(
                        f"{model_dir / MODULES}: {name} in {module.path!r} is not supported"
                    )
        return cls(pooling, tuple(projections), _max_tokens(model_dir))


def _modules(model_dir: Path) -> list[_Module]:
    path = model_dir / MODULES
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[_Module])
    except (OSError, msgspec.DecodeError) as error:
        raise SourceCorrupt(f"{path} is no list of modules: {error}") from error


def _folder(model_dir: Path, module: _Module) -> Path:
    path = PurePosixPath(module.path)
    if path.is_absolute() or ".." in path.parts:
        raise SourceCorrupt(f"{model_dir / MODULES}: {module.path!r} is outside of the model")
    return model_dir / path


def _pooling(path: Path) -> Pooling:
    modes = _modes(read_json(path))
    if len(modes) != 1 or modes[0] not in set(Pooling):
        raise UnknownRecipe(
            f"{path}: pooling by {'+'.join(modes) or 'nothing'} is not supported;"
            f" only by one of {', '.join(Pooling)}"
        )
    return Pooling(modes[0])


def _modes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("pooling_mode")
    if isinstance(named, list):
        return [str(mode) for mode in named]
    if isinstance(named, str):
        return [named]
    return [mode for flag, mode in _OLD_FLAGS.items() if config.get(flag)]


def _max_tokens(model_dir: Path) -> int | None:
    for path in sorted(model_dir.glob(_LIMITS)):
        limit = read_json(path).get("max_seq_length")
        if isinstance(limit, int) and limit > 0:
            return limit
    return None
