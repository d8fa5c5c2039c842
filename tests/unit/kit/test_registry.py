from __future__ import annotations

import pytest

from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.registry import Registry
from tests.unit.kit.actors import SOON_S, Echo
from tests.unit.kit.conftest import Start


def test_a_registered_actor_is_found_until_it_dies(start: Start) -> None:
    registry, ref = Registry(), start(name="router")
    registry.register(ref)
    assert registry.find("router") is ref
    ref.stop()
    assert ref.exit.wait(SOON_S)
    with pytest.raises(ActorDead, match="router"):
        registry.find("router")
    with pytest.raises(ActorDead, match="nobody"):
        registry.find("nobody")


def test_an_old_incarnation_neither_replaces_nor_removes_its_successor(start: Start) -> None:
    registry = Registry()
    old, new = start(name="router"), start(name="router")
    registry.register(new, restarts=1)
    registry.register(old)
    registry.park(old, 0, "failed", "crash")
    registry.forget(old)
    assert registry.find("router") is new
    registry.forget(new)
    registry.forget(new)
    assert registry.table().rows == ()


def test_the_table_describes_every_actor_in_order_of_names(start: Start) -> None:
    registry = Registry()
    router, fleet = start(name="router"), start(name="fleet")
    registry.register(router, restarts=2)
    registry.register(fleet)
    assert router.ready.wait(SOON_S)
    router.ask(Echo(1), SOON_S)
    fleet_row, row = registry.table().rows
    assert (fleet_row.name, fleet_row.restarts) == ("fleet", 0)
    assert (row.name, row.kind, row.state, row.restarts) == ("router", "Actor", "running", 2)
    assert (row.mailbox, row.handled, row.detail) == (0, 1, "2 entries")


def test_a_parked_actor_shows_what_its_supervisor_says(start: Start) -> None:
    registry, ref = Registry(), start()
    registry.register(ref)
    ref.stop()
    assert ref.exit.wait(SOON_S)
    registry.park(ref, 3, "backoff", "crash(ValueError)")
    (row,) = registry.table().rows
    assert (row.state, row.restarts, row.detail) == ("backoff", 3, "crash(ValueError)")
