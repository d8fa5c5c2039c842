"""The modules of a transformers model, without weights, or the reason why it cannot be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from neuron_runtime.model_errors import ModelFilesError, SourceCorrupt
from neuron_runtime.model_files import CONFIG, read_json

_LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})


_READABLE = frozenset({None, "fp8", "mxfp4"})
"""Weights as they are, and what transformers turns into such on reading, on any device."""


class UnknownArchitecture(ModelFilesError):
    """This model cannot be run; says its name and why."""


def make_skeleton(model_dir: Path, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """Create the model on the meta device; ``attention`` names the function that it calls.

    Raises:
        ModelFilesError: The config is missing, malformed, or of an architecture that cannot run
            over a paged cache.
    """
    # Without this, transformers would take the name of a missing directory for a repository's.
    read_json(model_dir / CONFIG)
    try:
        config = AutoConfig.from_pretrained(model_dir)
        model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise UnknownArchitecture(f"{model_dir}: {error}") from error
    _check(config, model_class)
    config.dtype = dtype
    config._attn_implementation = attention
    try:
        with torch.device("meta"):
            model: PreTrainedModel = model_class(config).eval()
    except Exception as error:
        # What its own code makes of its config, or of a library that is not here.
        raise UnknownArchitecture(
            f"{model_class.__name__} cannot be made: {type(error).__name__}: {error}"
        ) from error
    return model


def _check(config: Any, model_class: type[PreTrainedModel]) -> None:
    name = model_class.__name__
    if not getattr(model_class, "_supports_attention_backend", False):
        raise UnknownArchitecture(
            f"{name} cannot be run: its attention does not go through transformers' interface"
        )
    try:
        text = config.get_text_config()
    except ValueError as error:
        raise UnknownArchitecture(f"{name} cannot be run: {error}") from error
    heads, sharing = _stated(text, "num_attention_heads"), _stated(text, "num_key_value_heads")
    # The kernels give each key-value head as many query heads as another has. What is left over
    # would not be computed: its results would be whatever lay in their memory.
    if isinstance(heads, int) and isinstance(sharing, int) and (sharing < 1 or heads % sharing):
        raise SourceCorrupt(
            f"{name} cannot be run: its {heads} heads cannot share {sharing} key-value heads"
        )
    method = quantized_by(config)
    if method not in _READABLE:
        raise UnknownArchitecture(
            f"{name} cannot be run: its files hold weights that {method} has quantized; use those"
            " of 16 or 32 bits, and 'quant' to have them rounded here"
        )
    unknown = sorted(set(getattr(text, "layer_types", None) or ()) - _LAYER_TYPES)
    if unknown:
        raise UnknownArchitecture(
            f"{name} cannot be run: it has layers of type {', '.join(unknown)}"
        )
    if _stated(text, "kv_lora_rank"):
        raise UnknownArchitecture(f"{name} cannot be run: it keeps compressed keys and values")


def _stated(config: Any, name: str) -> Any:
    """Return what a config says of all layers; None if nothing, or something else of each."""
    try:
        return getattr(config, name, None)
    except RuntimeError:
        return None


def quantized_by(config: Any) -> str | None:
    """Return what has quantized the weights in the files, as the config calls it, if anything."""
    given = getattr(config, "quantization_config", None)
    if given is None:
        return None
    known = given if isinstance(given, dict) else given.to_dict()
    return str(known.get("quant_method", "something"))
