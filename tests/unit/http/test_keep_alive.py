from __future__ import annotations

from cortex_actors.http.server import KEEP_S
from cortex_actors.serving.full_replicas import MOST_S


def test_a_client_that_waits_as_long_as_it_is_told_finds_its_connection() -> None:
    assert KEEP_S > MOST_S
