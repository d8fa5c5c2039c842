"""What the Router does when it comes to a request only after its asker has given up."""

from __future__ import annotations

from cortex_actors.serving.messages import Tick
from tests.unit.serving.doubles import model_state
from tests.unit.serving.router_scene import Scene
from transports.failures import FailureCode


def test_nobody_is_granted_a_lease_who_has_given_up(scene: Scene) -> None:
    parked = scene.park(deadline=110.0)
    # We have been kept from looking.
    scene.clock.advance(10.0)
    scene.show(model_state("m"))
    asked = scene.ask(deadline=110.0)

    assert asked.failure().code == FailureCode.DEADLINE_EXCEEDED
    assert scene.summary == "leases=0 parked=1"
    scene.router.notify(Tick())
    assert parked.failure().code == FailureCode.MODEL_LOADING
    assert scene.summary == "leases=0 parked=0"
