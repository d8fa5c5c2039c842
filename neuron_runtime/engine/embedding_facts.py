"""What the files of a model for embeddings say about its questions and answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_runtime.embedding_recipe import EmbeddingRecipe
from neuron_runtime.model_files import CONFIG, read_json

_TOKENIZER_CONFIG = "tokenizer_config.json"
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """Longest input in tokens, number of token ids, length of a vector; None is not known."""

    context_length: int | None = None
    vocabulary: int | None = None
    dimensions: int | None = None

    @classmethod
    def load(cls, model_dir: Path) -> EmbeddingFacts:
        """Read them.

        Raises:
            ModelFilesError: A file cannot be read, or asks for what is not supported.
        """
        recipe = EmbeddingRecipe.load(model_dir)
        config = read_json(model_dir / CONFIG)
        text_config = config.get("text_config")
        text = text_config if isinstance(text_config, dict) else config
        tokenizer = model_dir / _TOKENIZER_CONFIG
        limits = (
            recipe.max_tokens,
            text.get("max_position_embeddings"),
            read_json(tokenizer).get("model_max_length") if tokenizer.exists() else None,
        )
        widths = [text.get(name) for name in _WIDTHS]
        if recipe.projections:
            widths = [read_json(model_dir / recipe.projections[-1] / CONFIG).get("out_features")]
        return cls(
            context_length=min((n for n in map(_positive, limits) if n), default=None),
            vocabulary=_positive(text.get("vocab_size")),
            dimensions=next((width for width in map(_positive, widths) if width), None),
        )


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
