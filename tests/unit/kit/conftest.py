from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.ref import ActorRef
from tests.unit.kit.actors import SOON_S, Actor

Start = Callable[..., ActorRef]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Crashes are what these tests provoke; their tracebacks are noise."""
    log = logging.getLogger("cortex")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start actors that are stopped, and waited for, when the test ends."""
    refs: list[ActorRef] = []

    def start_one(
        actor: type[SupervisedActor] = Actor, *args: Any, name: str = "actor", **kwargs: Any
    ) -> ActorRef:
        ref = actor.start(*args, name=name, **kwargs)
        refs.append(ref)
        return ref

    yield start_one
    for ref in reversed(refs):
        ref.stop()
    for ref in refs:
        assert ref.exit.wait(SOON_S), f"{ref} did not stop"
