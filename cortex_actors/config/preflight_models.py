"""Whether the models to be loaded at start can be: files there and sound, room for conversion."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from cortex_actors.config.errors import KeyedMessage
from cortex_actors.config.neuron_config import NeuronConfig
from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.model_source import ModelSource, Scheme

_KEY = "default_models"


def check_default_models(config: NeuronConfig) -> Iterator[KeyedMessage]:
    """Find default models whose files are missing or damaged, or that the cache has no room for.

    A hub model that is not here yet is no problem: loading it downloads it.
    """
    needed = 0
    for name in config.default_models:
        entry = config.catalogue.find(name)
        if entry is None:
            continue
        source = ModelSource.parse(entry.source)
        if source.scheme is Scheme.HUB:
            continue
        try:
            needed += _bytes_to_convert(source, config)
        except ModelFilesError as error:
            yield _KEY, f"'{name}': {error}"
    if not needed or not config.neuron.cache_dir.is_dir():
        return
    free = shutil.disk_usage(config.neuron.cache_dir).free
    if free < needed:
        message = (
            f"{config.neuron.cache_dir} has {free >> 20} MiB free;"
            f" the default models need {needed >> 20} MiB"
        )
        yield "neuron.cache_dir", message


def _bytes_to_convert(source: ModelSource, config: NeuronConfig) -> int:
    files = source.locate()
    if ModelCache(config.neuron.cache_dir).find(files) is not None:
        return 0
    files.verify()
    return files.converted_bytes()
