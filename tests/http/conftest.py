from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.scripted_fleet import ScriptedFleet, scripted_fleet
from tests.http.server_process import ServerProcess, server_process, short_folder


@pytest.fixture
def fleet() -> Iterator[ScriptedFleet]:
    with short_folder() as folder, scripted_fleet(folder) as fleet_:
        yield fleet_


@pytest.fixture
def server(fleet: ScriptedFleet) -> Iterator[ServerProcess]:
    with server_process(fleet.endpoint) as server_:
        server_.await_ready()
        yield server_
