"""A rank of the fake backend that reads one weights file; what is wrong with it, it reports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from neuron_runtime import worker_main
from neuron_runtime.backends.base import BackendError
from neuron_runtime.backends.fake import FakeBackend
from neuron_runtime.model_errors import ModelFilesError
from neuron_runtime.safetensors_header import SafetensorsHeader
from transports.schemas.group import LoadShard, ShardLoaded

SHARD = "model-00002-of-00002.safetensors"
_load = FakeBackend.load


def load(self: FakeBackend, shard: LoadShard) -> ShardLoaded:
    """As the torch backend does it, this rank's file first."""
    try:
        SafetensorsHeader.read(Path(shard.model_dir) / SHARD)
    except ModelFilesError as error:
        raise BackendError(error.code, f"rank {shard.rank}: {error}") from error
    return _load(self, shard)


if __name__ == "__main__":
    FakeBackend.load = load  # type: ignore[method-assign]
    code = worker_main.main()
    sys.stdout.flush()
    os._exit(code)
