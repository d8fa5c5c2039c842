"""The tokenizer of a model for embeddings. Any thread: nothing changes once it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import tokenizers

from neuron_runtime.engine.tokenizer import TokenizerError


@final
class EmbeddingTokenizer:
    """Text to token ids, with the special tokens that the model was trained with around it."""

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        # Files of such models often ask for both; a cut input would get the vector of another.
        core.no_truncation()
        core.no_padding()
        self._core = core

    @classmethod
    def load(cls, model_dir: Path) -> EmbeddingTokenizer:
        """Read ``tokenizer.json``.

        Raises:
            TokenizerError: It is missing or not readable.
        """
        path = model_dir / "tokenizer.json"
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:
            # The library raises plain Exception for all that can be wrong with a file.
            raise TokenizerError(f"cannot read the tokenizer {path}: {error}") from error

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the ids of each text, whatever its length."""
        return [tuple(each.ids) for each in self._core.encode_batch_fast(list(texts))]
