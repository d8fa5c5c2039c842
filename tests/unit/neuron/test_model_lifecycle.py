"""A model's phases and every move between them."""

from __future__ import annotations

import pytest

from cortex_actors.neuron.model_lifecycle import (
    InvalidTransitionError,
    ModelLifecycle,
    ModelPhase,
)

P = ModelPhase
ALLOWED = {
    (P.PREPARING, P.STARTING),
    (P.PREPARING, P.FAILED),
    (P.PREPARING, P.UNLOADING),
    (P.STARTING, P.READY),
    (P.STARTING, P.FAILED),
    (P.STARTING, P.UNLOADING),
    (P.READY, P.RECOVERING),
    (P.READY, P.FAILED),
    (P.READY, P.UNLOADING),
    (P.RECOVERING, P.READY),
    (P.RECOVERING, P.FAILED),
    (P.RECOVERING, P.UNLOADING),
    (P.UNLOADING, P.UNLOADED),
    (P.UNLOADING, P.ASLEEP),
    (P.ASLEEP, P.STARTING),
    (P.ASLEEP, P.UNLOADING),
    (P.ASLEEP, P.UNLOADED),
}


def ready() -> ModelLifecycle:
    life = ModelLifecycle()
    life.prepared()
    life.engine_up("tcp://engine")
    life.group_ready()
    return life


@pytest.mark.parametrize("origin", P)
@pytest.mark.parametrize("to", P)
def test_only_the_tables_moves_are_possible(origin: ModelPhase, to: ModelPhase) -> None:
    life = ModelLifecycle()
    life.phase = origin
    if (origin, to) in ALLOWED:
        life.move(to)
        assert life.phase is to
    else:
        with pytest.raises(InvalidTransitionError, match=f"from {origin} to {to}"):
            life.move(to)
        assert life.phase is origin


@pytest.mark.parametrize("engine_first", [True, False])
def test_ready_takes_an_engine_and_a_group_in_any_order(engine_first: bool) -> None:
    life = ModelLifecycle()
    life.prepared()
    steps = [lambda: life.engine_up("tcp://engine"), life.group_ready]

    phases = []
    for step in steps if engine_first else steps[::-1]:
        step()
        phases.append(life.phase)
    assert phases == [P.STARTING, P.READY]
    assert life.endpoint == "tcp://engine"


def test_a_broken_group_keeps_the_engines_address() -> None:
    life = ready()

    life.group_gone()
    assert (life.phase, life.endpoint) == (P.RECOVERING, "tcp://engine")
    life.group_ready()
    assert life.phase is P.READY


def test_a_dead_engine_takes_its_address_along() -> None:
    life = ready()

    life.engine_gone()
    assert (life.phase, life.endpoint) == (P.RECOVERING, "")
    life.engine_up("tcp://next")
    assert (life.phase, life.endpoint) == (P.READY, "tcp://next")


def test_news_of_processes_that_end_move_nothing_once_it_unloads() -> None:
    life = ready()
    life.move(P.UNLOADING)

    life.engine_gone()
    life.group_gone()
    life.engine_up("tcp://late")
    life.group_ready()
    assert life.phase is P.UNLOADING
