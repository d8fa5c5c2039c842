from __future__ import annotations

import pytest

from tests.unit.kit.conftest import Start, _quiet, start
from tests.unit.serving.router_scene import Scene

__all__ = ["_quiet", "scene", "start"]


@pytest.fixture
def scene(start: Start) -> Scene:
    """Return a router and its surroundings."""
    return Scene(start)
