"""A transformer without a head, and the recipe that makes vectors of its last states.

transformers itself reads the weights: checkpoints of one model differ in their names, with and
without the prefix of a head that is not wanted here, and it knows them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)
from transformers.utils import logging as transformers_logging

from neuron_runtime.embedding_recipe import EmbeddingRecipe, Pooling, UnknownRecipe
from neuron_runtime.model_errors import SourceCorrupt
from neuron_runtime.model_files import Layout, ModelFiles
from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.length_buckets import length_buckets
from neuron_runtime.torch_backend.parallel_encoder import divide
from neuron_runtime.torch_backend.pooling import pool
from neuron_runtime.torch_backend.projection import Projection

BATCH_TOKENS = 4096
_UNUSED = ("pooler.",)
"""Parts that many checkpoints lack, and that no recipe uses."""


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One rank's part of such a model. Every rank computes the same vectors."""

    module: Any
    config: Any
    pooling: Pooling
    projections: tuple[Projection, ...]
    device: torch.device
    context_length: int
    weight_bytes: int

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return int(self.config.get_text_config().vocab_size)

    def embed(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return a vector of length 1 for each of the sequences, (sequences, dimensions)."""
        vectors: list[torch.Tensor | None] = [None] * len(sequences)
        with torch.inference_mode():
            for batch in length_buckets([len(each) for each in sequences], BATCH_TOKENS):
                rows = self._embed_batch([sequences[index] for index in batch])
                for index, row in zip(batch, rows, strict=True):
                    vectors[index] = row
        return torch.stack([vector for vector in vectors if vector is not None])

    def _embed_batch(self, batch: Sequence[Sequence[int]]) -> torch.Tensor:
        """Embed sequences together; ``batch[0]`` is the longest."""
        tokens = torch.zeros(len(batch), len(batch[0]), dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, sequence in enumerate(batch):
            tokens[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        output = self.module(input_ids=tokens, attention_mask=mask)
        vectors = pool(output.last_hidden_state, mask, self.pooling)
        for projection in self.projections:
            vectors = projection(vectors)
        return functional.normalize(vectors, dim=1)


def load_embedding_model(
    model_dir: Path, collectives: Collectives, device: torch.device, dtype: torch.dtype | None
) -> EmbeddingModel:
    """Load the model in ``model_dir``, or this rank's part of it.

    Args:
        model_dir: The model's files.
        collectives: The ranks that share it.
        device: Where to compute.
        dtype: The precision; None is the one that the weights are stored in.

    Raises:
        ModelFilesError: The files are missing, malformed, or of an unknown architecture.
        PlacementError: The model cannot be divided among this many ranks.
    """
    ModelFiles(model_dir, Layout.DIRECTORY).verify()
    recipe = EmbeddingRecipe.load(model_dir)
    config, module = _load(model_dir, dtype)
    divide(module, config, collectives, device)
    module.to(device)
    projections = tuple(Projection(model_dir / name, device) for name in recipe.projections)
    held = {p.data_ptr(): p.nbytes for p in module.parameters()}
    return EmbeddingModel(
        module=module,
        config=config,
        pooling=recipe.pooling or _default_pooling(config.model_type),
        projections=projections,
        device=device,
        context_length=_context_length(module, config, recipe),
        weight_bytes=sum(held.values()) + sum(each.nbytes for each in projections),
    )


def _load(model_dir: Path, dtype: torch.dtype | None) -> tuple[Any, Any]:
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
        config.get_text_config().use_cache = False
        model_class = _model_class(config)
        module, report = model_class.from_pretrained(
            model_dir,
            config=config,
            dtype=dtype or "auto",
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise UnknownRecipe(f"{model_dir}: {error}") from error
    except (SafetensorError, RuntimeError) as error:
        raise SourceCorrupt(f"{model_dir}: the weights do not fit the model: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(_UNUSED))
    if missing:
        raise SourceCorrupt(f"{model_dir} has no tensor {missing[0]}")
    return config, module.eval()


def _model_class(config: Any) -> Any:
    """Return the class without a head: of a model with two halves, the encoder's.

    Raises:
        ValueError: There is none.
        KeyError: The same.
    """
    encoder = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
    if encoder is not None and encoder.__name__.endswith("EncoderModel"):
        return encoder
    if config.is_encoder_decoder:
        raise ValueError(f"the encoder of a {config.model_type} cannot be used by itself")
    return MODEL_MAPPING[type(config)]


def _default_pooling(model_type: str) -> Pooling:
    """Return what suits the architecture: only a decoder's last token has seen all the others."""
    generates = model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    fills_in = model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return Pooling.LAST if generates and not fills_in else Pooling.MEAN


def _context_length(module: nn.Module, config: Any, recipe: EmbeddingRecipe) -> int:
    limits = [recipe.max_tokens, getattr(config.get_text_config(), "max_position_embeddings", None)]
    for name, table in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
            # RoBERTa numbers positions from the one after the padding's.
            unused = 0 if table.padding_idx is None else table.padding_idx + 1
            limits.append(table.num_embeddings - unused)
    return min((int(limit) for limit in limits if limit), default=0)
