from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.kit.conftest import _quiet, start
from tests.unit.neuron.stub_processes import StubLauncher, stub_launcher

__all__ = ["_quiet", "start"]


@pytest.fixture
def launcher() -> Iterator[StubLauncher]:
    with stub_launcher() as launcher:
        yield launcher
