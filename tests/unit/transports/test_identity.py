from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.identity import Route, process_boot, process_identity


def test_each_identity_of_a_process_has_a_greater_incarnation() -> None:
    first, second = process_identity("gateway", "g"), process_identity("gateway", "g")
    assert second.inc > first.inc
    assert first.boot == second.boot == process_boot()


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_route_survives_the_routing_id(boot: int, slot: int, inc: int) -> None:
    route = Route(boot, slot, inc)
    assert Route.parse(route.routing_id()) == route


@pytest.mark.parametrize(
    "routing_id",
    [
        b"",
        b"\x00\x80\x00\x41\xa7",
        b"0000000000000001.3",
        b"000000000000001.3.7",
        b"0000000000000001.03.7",
        b"0000000000000001.3.7\n",
        b"0000000000000001.3.4294967296",
        b"0000000000000001.4294967296.1",
        b"0000000000000001.99999999999.1",
        b"000000000000000A.3.7",
    ],
)
def test_any_other_routing_id_says_nothing(routing_id: bytes) -> None:
    assert Route.parse(routing_id) is None
