from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.kit.conftest import _quiet, start
from tests.unit.serving.doubles import SOON_S
from transports.reactor import Reactor

__all__ = ["_quiet", "start"]


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(SOON_S)
