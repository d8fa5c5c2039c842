from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.transports.looped_link import WAIT_S
from transports.reactor import Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(WAIT_S)
