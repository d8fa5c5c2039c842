"""``neurond chaos`` on a whole neuron: refused unless switched on, and then what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from tests.eventually import eventually
from tests.process.tenant import Tenant
from tests.process.whole_neuron import WholeNeuron, entry
from tests.unit.neuron.asking_front_end import WAIT_S
from transports.failures import FailureCode
from transports.link import CallEvent, Completed, Failed
from transports.schemas.fleet import ModelLoaded
from transports.schemas.group import FaultArmed, InjectFault
from transports.schemas.link import Failure

pytestmark = pytest.mark.process


def models(directory: Path) -> tuple[CatalogueEntry, ...]:
    return entry(directory, "pair", 2), entry(directory, "small")


@pytest.fixture
def neuron(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tenant: Tenant,
) -> Iterator[WholeNeuron]:
    neuron = WholeNeuron(directory, tenant, monkeypatch, models, **getattr(request, "param", {}))
    yield neuron
    neuron.close()


SWITCHED_ON = pytest.mark.parametrize("neuron", [{"chaos": True}], indirect=True, ids=["on"])


def failure(event: CallEvent) -> Failure:
    assert isinstance(event, Failed), event
    return event.failure


def arm(neuron: WholeNeuron, fault: InjectFault) -> None:
    assert neuron.front_end.ask(fault) == Completed(FaultArmed("pair", fault.rank))


def test_no_fault_is_armed_unless_the_operator_has_allowed_it(neuron: WholeNeuron) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    spawned = len(neuron.launcher.handles)
    refusal = failure(neuron.front_end.ask(InjectFault("kill-rank", "idle", model="pair")))

    assert refusal.code == FailureCode.INVALID_REQUEST
    assert "set neuron.chaos: true" in refusal.message
    # Another load is a turn of every actor that could have passed it on.
    assert isinstance(neuron.load("small"), ModelLoaded)
    assert neuron.model("pair").restarts == 0
    assert not any(handle.exited.is_set() for handle in neuron.launcher.handles[:spawned])


@SWITCHED_ON
def test_a_fault_for_what_is_not_there_is_refused_by_name(neuron: WholeNeuron) -> None:
    unloaded = failure(neuron.front_end.ask(InjectFault("oom", "before", model="pair")))
    assert unloaded.code == FailureCode.MODEL_NOT_FOUND
    assert isinstance(neuron.load("pair"), ModelLoaded)

    no_rank = failure(neuron.front_end.ask(InjectFault("oom", "before", rank=2, model="pair")))
    assert (no_rank.code, no_rank.param) == (FailureCode.INVALID_REQUEST, "rank")
    assert no_rank.message == "model 'pair' has no rank 2 now"


@SWITCHED_ON
@pytest.mark.parametrize("rank", [0, 1])
def test_a_fault_while_starting_strikes_the_next_start(neuron: WholeNeuron, rank: int) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    arm(neuron, InjectFault("kill-rank", "starting", rank=rank, model="pair"))
    assert neuron.model("pair").restarts == 0
    arm(neuron, InjectFault("kill-rank", "idle", rank=1, model="pair"))

    # The group that replaces it dies as it loads, and only that one.
    eventually(lambda: len(neuron.launcher.spawned("model/pair/rank")) == 6, WAIT_S)
    neuron.await_state("pair", "ready")
    assert len(neuron.launcher.spawned("model/pair/rank")) == 6
