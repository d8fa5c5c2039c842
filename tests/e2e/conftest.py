from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet


@pytest.fixture(scope="module")
def make_fleet(model_cache: Path) -> Iterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []
    directories: list[tempfile.TemporaryDirectory[str]] = []

    def make(**options: Any) -> Fleet:
        # Not tmp_path: an ipc path has at most 100 bytes.
        directory = tempfile.TemporaryDirectory(prefix="cortex-")
        directories.append(directory)
        fleet = Fleet(Path(directory.name), model_cache, **options)
        fleets.append(fleet)
        return fleet

    yield make
    for fleet in fleets:
        fleet.stop()
    for directory in directories:
        directory.cleanup()


@pytest.fixture(scope="module")
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    fleet = make_fleet()
    fleet.start()
    return fleet
