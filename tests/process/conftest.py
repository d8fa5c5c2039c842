from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_runtime.launcher import Launcher
from tests.process.neuron import Neuron
from tests.process.tenant import Tenant, copying_launcher


@pytest.fixture(scope="package")
def copier() -> Iterator[Launcher]:
    with copying_launcher() as launcher:
        yield launcher


@pytest.fixture
def tenant(copier: Launcher) -> Tenant:
    """What starts the processes of this test: as copies, where it can."""
    return Tenant(copier)


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        yield Path(directory)


@pytest.fixture
def neuron(directory: Path, tenant: Tenant) -> Iterator[Neuron]:
    neuron = Neuron(directory, tenant)
    yield neuron
    neuron.close()


@pytest.fixture
def lone_neuron(directory: Path) -> Iterator[Neuron]:
    """One with a launcher of its own, which executes every process."""
    neuron = Neuron(directory)
    yield neuron
    neuron.close()
