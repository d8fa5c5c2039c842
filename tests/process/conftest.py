from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.neuron import Neuron


@pytest.fixture
def neuron() -> Iterator[Neuron]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        neuron = Neuron(Path(directory))
        yield neuron
        neuron.close()
