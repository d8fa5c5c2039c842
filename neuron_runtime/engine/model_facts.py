"""What a model's own files say about how to run it, without loading any weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from transports.schemas.generate import SamplingOptions

_NO_DEFAULTS = SamplingOptions()


class ModelFilesError(Exception):
    """A configuration file of the model cannot be read; names it."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Context length in tokens, end tokens, sampling defaults, number of token ids.

    What the files do not say is None. A model may know more ids than its tokenizer.
    """

    context_length: int | None = None
    eos_ids: frozenset[int] = frozenset()
    defaults: SamplingOptions = _NO_DEFAULTS
    vocabulary: int | None = None

    @classmethod
    def load(cls, model_dir: Path) -> ModelFacts:
        """Read ``config.json`` and ``generation_config.json``; either may be missing.

        Raises:
            ModelFilesError: One of them is there and not readable.
        """
        config = _read(model_dir / "config.json")
        generation = _read(model_dir / "generation_config.json")
        text_config = config.get("text_config")
        text = text_config if isinstance(text_config, dict) else config
        eos = generation.get("eos_token_id", text.get("eos_token_id", config.get("eos_token_id")))
        return cls(
            context_length=_positive(text.get("max_position_embeddings")),
            eos_ids=_ids(eos),
            defaults=SamplingOptions(
                temperature=_number(generation.get("temperature")),
                top_p=_number(generation.get("top_p")),
                top_k=_positive(generation.get("top_k")),
                min_p=_number(generation.get("min_p")),
                repetition_penalty=_number(generation.get("repetition_penalty")),
            ),
            vocabulary=_positive(text.get("vocab_size")),
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise ModelFilesError(msg) from error


def _ids(value: object) -> frozenset[int]:
    values = value if isinstance(value, list) else [value]
    return frozenset(each for each in values if isinstance(each, int))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
