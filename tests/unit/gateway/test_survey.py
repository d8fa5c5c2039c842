"""Judgements that are kept: for as long as they hold, and not longer."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.gateway.fleet_table import FleetTable, Standing
from cortex_actors.gateway.placement_policy import Verdict, Wanted
from cortex_actors.gateway.room import Resident
from cortex_actors.gateway.survey import Survey
from transports.schemas.fleet import DeviceState, ModelRecord, ModelState, NeuronState

BIG = Wanted.of(CatalogueEntry(id="big", source="file:///big", vram_mb=800), 0)


def state(name: str, *models: ModelState, records: tuple[ModelRecord, ...] = ()) -> NeuronState:
    free_mb = 1000 - sum(each.memory_mb for each in models)
    devices = (DeviceState("cpu:0", "cpu", "A CPU", 1000, free_mb),)
    return NeuronState(name, 1, "1", "host", 1.0, devices, models, records=records)


def old(status: str = "ready", running: int = 0) -> ModelState:
    return ModelState("old", status, "a", "tcp://h:1", ("cpu:0",), running, memory_mb=600)


class Judge:
    """A survey of neurons ``a`` (with an idle model) and ``b``, and who was looked at for it."""

    def __init__(self) -> None:
        self.fleet = FleetTable()
        self.fleet.reported(state("a", old()), 1, 0.0)
        self.fleet.reported(state("b", old()), 2, 0.0)
        self.looked: list[str] = []
        self.standing = Standing()
        self._survey = Survey("cost")

    def verdicts(self) -> dict[str, Verdict]:
        self.looked.clear()
        surveyed = self.surveyed = self._survey.of(self.fleet, BIG, self._stands)
        fresh = Survey("cost").of(self.fleet, BIG, lambda _: self.standing)
        assert surveyed == fresh
        return {room.neuron: found.verdict for room, found in surveyed}

    def forget(self) -> None:
        self._survey.forget()

    def _stands(self, model: str) -> Standing:
        self.looked.append(model)
        return self.standing


@pytest.fixture
def judge() -> Judge:
    judge = Judge()
    assert judge.verdicts() == {"a": Verdict.EVICT, "b": Verdict.EVICT}
    assert len(judge.looked) == 2
    return judge


def test_nothing_is_judged_twice(judge: Judge) -> None:
    before = judge.surveyed
    judge.verdicts()

    assert judge.looked == []
    assert all(kept is known for kept, known in zip(judge.surveyed, before, strict=True))


def test_a_report_has_its_own_neuron_judged_anew(judge: Judge) -> None:
    judge.fleet.reported(state("a", old(running=1)), 1, 0.0)

    assert judge.verdicts() == {"a": Verdict.WAIT, "b": Verdict.EVICT}
    assert len(judge.looked) == 1


def test_whatever_happens_to_a_neuron_is_seen(judge: Judge) -> None:
    fleet = judge.fleet
    promised = Resident("new", ("cpu:0",), 100, settled=False)
    for happen in (
        lambda: fleet.in_use("old", "a", 1, 1.0),
        lambda: fleet.in_use("old", "a", 0, 2.0),
        lambda: fleet.reserve("a", promised),
        lambda: fleet.release("a", "new"),
        lambda: fleet.reported(state("a", old()), 1, 3.0),
        lambda: fleet.leaves("a", "old"),
        lambda: fleet.left("a", "old", 4.0, gone=False),
        lambda: fleet.reported(state("a", old("starting")), 1, 5.0),
        lambda: fleet.reserve("a", Resident("old", ("cpu:0",), 600, settled=False)),
        lambda: fleet.reported(state("a", old()), 1, 6.0),
        lambda: fleet.loaded("old", "a", 6.0),
        lambda: fleet.look(20.0),
        lambda: fleet.left("a", "old", 21.0, gone=True),
        lambda: fleet.lost("a", 1, 22.0),
        lambda: fleet.reported(state("a"), 3, 23.0),
    ):
        happen()
        judge.verdicts()
        assert len(judge.looked) <= 1  # and b was not looked at again

    assert judge.verdicts()["a"] is Verdict.FREE


def test_what_is_not_the_table_s_is_seen_when_the_survey_is_told_to_forget(judge: Judge) -> None:
    judge.standing = Standing(pinned=True)
    judge.forget()

    assert judge.verdicts() == {"a": Verdict.HELD, "b": Verdict.HELD}


def test_a_measurement_is_known_at_once(judge: Judge) -> None:
    assert judge.fleet.measured_mb("big") == 0
    judge.fleet.reported(state("a", records=(ModelRecord("big", memory_mb=900),)), 1, 1.0)
    assert judge.fleet.measured_mb("big") == 900
    judge.fleet.reported(state("a"), 1, 2.0)
    assert judge.fleet.measured_mb("big") == 0
