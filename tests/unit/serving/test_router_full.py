"""Only so many requests wait for models; whoever has most of them makes way for others."""

from __future__ import annotations

import pytest

from cortex_actors.serving import router as router_module
from cortex_actors.serving.messages import LoadUnwanted
from tests.unit.serving.doubles import model_state
from tests.unit.serving.router_scene import Scene
from transports.failures import FailureCode
from transports.schemas.fleet import Lease


def test_only_so_many_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "MAX_PARKED", 2)
    waiting = [scene.park(), scene.park("other")]
    failure = scene.ask().failure()

    assert failure.code == FailureCode.OVERLOADED
    assert failure.retry_after_s
    assert [request.answers for request in waiting] == [[], []]


def test_whoever_waits_most_often_makes_way_and_its_load_goes_on_if_others_want_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_module, "MAX_PARKED", 3)
    greedy = [scene.park(principal="greedy") for _ in range(2)]
    greedy.append(scene.park("other", principal="greedy"))
    modest = scene.ask(principal="modest")

    assert greedy[2].failure().code == FailureCode.OVERLOADED
    assert scene.summary == "leases=0 parked=3"
    assert [each.model for each in scene.loader.heard(LoadUnwanted)] == ["other"]
    refused = scene.ask(principal="greedy").failure()
    assert (refused.code, refused.retry_after_s is not None) == (FailureCode.OVERLOADED, True)
    scene.show(model_state("m"))
    assert isinstance(modest.answer(), Lease)
    assert [isinstance(each.answer(), Lease) for each in greedy[:2]] == [True, True]


def test_who_takes_the_place_of_the_only_one_that_waits_keeps_its_load(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_module, "MAX_PARKED", 1)
    nameless = scene.park()
    scene.ask(principal="modest")

    assert nameless.failure().code == FailureCode.OVERLOADED
    assert scene.summary == "leases=0 parked=1"
    assert scene.loader.heard(LoadUnwanted) == []
