"""What a model is for, as its files say; torch-free."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from neuron_runtime.model_files import CONFIG, read_json
from transports.failures import FailureCode
from transports.schemas.link import Failure

MODULES = "modules.json"
"""The list of sentence-transformers' modules; only models for embeddings have one."""

_GENERATORS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


class ModelKind(StrEnum):
    """The one kind of question that a model answers."""

    GENERATION = "generation"
    EMBEDDING = "embedding"

    @classmethod
    def of(cls, model_dir: Path) -> ModelKind:
        """Return the kind of the model in ``model_dir``; one that does not say so generates.

        Raises:
            ModelFilesError: Its configuration is there and cannot be read.
        """
        if (model_dir / MODULES).exists():
            return cls.EMBEDDING
        config = read_json(model_dir / CONFIG) if (model_dir / CONFIG).exists() else {}
        names = config.get("architectures")
        if not isinstance(names, list) or not names:
            return cls.GENERATION
        generates = any(str(name).endswith(_GENERATORS) for name in names)
        return cls.GENERATION if generates else cls.EMBEDDING

    def refusal(self, model: str) -> Failure:
        """Return what a question of the other kind is answered with."""
        what = "makes embeddings and generates no text; use /v1/embeddings"
        if self is ModelKind.GENERATION:
            what = "generates text and makes no embeddings; use /v1/chat/completions"
        return Failure(FailureCode.INVALID_REQUEST, f"the model '{model}' {what}", param="model")
