"""Models whose processes are started anew because they have run long enough."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from cortex_actors.neuron.messages import RenewAsked
from tests.eventually import eventually
from tests.process.test_warm_tier import answer, await_warm, living, load, neuron, unload
from tests.unit.neuron.asking_front_end import WAIT_S

if TYPE_CHECKING:
    from tests.process.whole_neuron import WholeNeuron

__all__ = ["neuron"]
pytestmark = pytest.mark.process


def test_idle_models_get_new_processes_and_say_the_same(neuron: WholeNeuron) -> None:
    for model in ("small", "pair", "other"):
        load(neuron, model)
    unload(neuron, "other")
    await_warm(neuron, "other")
    before = {model: (living(neuron, model), answer(neuron, model)) for model in ("small", "pair")}
    eventually(lambda: all(neuron.model(each).running == 0 for each in before), WAIT_S)

    neuron.tree.registry.find("fork_server").notify(RenewAsked())

    def renewed(model: str) -> bool:
        old, now = before[model][0].values(), living(neuron, model).values()
        return not set(old) & set(now) and neuron.model(model).state == "ready"

    for model, (old, text) in before.items():
        eventually(partial(renewed, model), WAIT_S)
        assert living(neuron, model).keys() == old.keys()
        assert answer(neuron, model) == text
    await_warm(neuron)
    assert living(neuron, "other") == {}
