from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.networks import KINDS, Network, make
from tests.conformance.recorder import Recorder


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room in an ipc address."""
    with tempfile.TemporaryDirectory(prefix="cx") as directory:
        yield Path(directory)


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Network]:
    """A network of each kind."""
    network = make(request.param, short_path)
    yield network
    network.close()


@pytest.fixture
def server(network: Network) -> Recorder:
    """The listening end's handler, listening."""
    recorder = Recorder()
    network.listen(recorder)
    return recorder


@pytest.fixture
def client(network: Network, server: Recorder) -> Recorder:
    """The connecting end's handler, with both ends up."""
    recorder = Recorder()
    network.connect(recorder)
    network.until(lambda: recorder.is_up and server.is_up)
    return recorder
