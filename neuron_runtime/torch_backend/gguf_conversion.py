"""Turns a GGUF file into what every other model is: safetensors, config and tokenizer.

transformers reads the file; we only write what it read. ``save_pretrained`` is of no use for the
weights: it refuses models that were dequantised. Decision 0003 says why the weights are bfloat16.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from safetensors.torch import save_file
from transformers import modeling_gguf_pytorch_utils as gguf_loading
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from neuron_runtime.model_errors import ModelFilesError, SourceCorrupt
from neuron_runtime.model_files import WEIGHTS

OnProgress = Callable[[float, str], None]
STORED_DTYPE = torch.bfloat16


class UnsupportedModel(ModelFilesError):
    """transformers has no causal language model of this kind, or cannot read it from GGUF."""


def convert_gguf(source: Path, target: Path, on_progress: OnProgress) -> None:
    """Write the model in ``source`` into the directory ``target``. Takes seconds to minutes.

    Args:
        source: A GGUF file whose header has been checked.
        target: An empty directory.
        on_progress: Is told the fraction done and the phase; called on this thread.

    Raises:
        UnsupportedModel: The architecture is not known.
        SourceCorrupt: The file's content makes no sense to transformers.
        OSError: Writing failed.
    """
    on_progress(0.05, "reading metadata")
    try:
        with _parsed_once():
            config = _config(source)
            on_progress(0.2, "reading tokenizer")
            tokenizer = _tokenizer(source)
            on_progress(0.4, "reading weights")
            tensors = _tensors(source, config, on_progress)
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise SourceCorrupt(f"{source} cannot be read: {type(error).__name__}: {error}") from error
    on_progress(0.9, "writing")
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(target)
    transformers.GenerationConfig.from_model_config(config).save_pretrained(target)
    tokenizer.save_pretrained(target)
    on_progress(1.0, "done")


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Have transformers parse the file once, not once each for config, tokenizer and weights.

    And have it build the table of tensor names once, not once for every module of the model. That
    halves the time of a small model's conversion.
    """
    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = functools.cache(reader), functools.cache(name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, name_map


def _config(source: Path) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
        model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except (ValueError, KeyError) as error:
        raise UnsupportedModel(f"{source} is of no supported architecture: {error}") from error
    config.architectures = [model_class.__name__]
    config.dtype = str(STORED_DTYPE).removeprefix("torch.")
    return config


def _tokenizer(source: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)


def _tensors(source: Path, config: Any, on_progress: OnProgress) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
    # The loader tells its progress to tqdm only; the module's attribute is where to listen.
    original = gguf_loading.tqdm
    gguf_loading.tqdm = lambda items, **_: _reported(items, on_progress)
    try:
        loaded = gguf_loading.load_gguf_checkpoint(
            str(source), return_tensors=True, model_to_load=model, torch_dtype=STORED_DTYPE
        )
    finally:
        gguf_loading.tqdm = original
    tensors: dict[str, torch.Tensor] = loaded["tensors"]
    _check_complete(source, model, tensors)
    return tensors


def _reported(items: Iterable[Any], on_progress: OnProgress) -> Iterator[Any]:
    everything = list(items)
    for index, item in enumerate(everything):
        on_progress(0.4 + 0.5 * index / len(everything), "reading weights")
        yield item


def _check_complete(source: Path, model: Any, tensors: dict[str, torch.Tensor]) -> None:
    tied = set(model.all_tied_weights_keys)
    for name, parameter in model.named_parameters():
        if name in tied:
            continue
        if name not in tensors:
            raise SourceCorrupt(f"{source} has no tensor for {name}")
        if tensors[name].shape != parameter.shape:
            raise SourceCorrupt(
                f"{source}: {name} is {tuple(tensors[name].shape)}, not {tuple(parameter.shape)}"
            )
