"""Which model sits on which devices."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cortex_actors.neuron.device_table import DeviceTable, Placed
from transports.failures import FailureCode
from transports.schemas.link import Failure

MEMORY_MB = {"cuda:0": 1000, "cuda:1": 1000, "cuda:2": 600}


def placed(outcome: Placed | Failure) -> tuple[str, ...]:
    assert isinstance(outcome, Placed), outcome
    return outcome.devices


def refused(outcome: Placed | Failure) -> str:
    assert isinstance(outcome, Failure), outcome
    assert outcome.code == FailureCode.INSUFFICIENT_DEVICES
    return outcome.message


def test_the_emptiest_device_is_taken_first_and_equal_ones_in_order() -> None:
    table = DeviceTable(MEMORY_MB)

    assert placed(table.place("a", 1, 100)) == ("cuda:0",)
    assert placed(table.place("b", 1, 100)) == ("cuda:1",)
    assert placed(table.place("c", 1, 200)) == ("cuda:2",)
    assert placed(table.place("d", 1, 100)) == ("cuda:0",)


def test_a_groups_ranks_are_in_the_configured_order() -> None:
    table = DeviceTable(MEMORY_MB)
    placed(table.place("a", 1, 10))
    table.release("a")

    assert placed(table.place("group", 3, 1500)) == ("cuda:0", "cuda:1", "cuda:2")


def test_more_devices_than_there_are_is_said_so() -> None:
    text = refused(DeviceTable(MEMORY_MB).place("big", 4, 0))

    assert "'big' needs 4 devices; this neuron has 3: cuda:0, cuda:1, cuda:2" in text


def test_a_refusal_names_who_is_in_the_way() -> None:
    table = DeviceTable(MEMORY_MB)
    placed(table.place("group", 2, 0))
    placed(table.place("small", 1, 0))

    text = refused(table.place("other", 2, 0))
    assert "group on cuda:0+cuda:1" in text
    assert "small on cuda:2" in text


def test_too_little_memory_is_refused() -> None:
    assert "1 device(s) with 1001 MB" in refused(DeviceTable(MEMORY_MB).place("m", 1, 1001))


def test_a_group_takes_no_device_that_has_a_tenant() -> None:
    table = DeviceTable(MEMORY_MB)
    placed(table.place("small", 1, 0))

    assert placed(table.place("group", 2, 0)) == ("cuda:1", "cuda:2")


def test_nothing_is_placed_on_a_device_that_is_gone_until_it_is_back() -> None:
    table = DeviceTable(MEMORY_MB)
    table.observe({"cuda:0": 1000, "cuda:2": 1000})

    assert placed(table.place("group", 2, 0)) == ("cuda:0", "cuda:2")
    assert "(gone: cuda:1)" in refused(table.place("small", 1, 0))
    assert "this neuron has 2: cuda:0, cuda:2 (gone: cuda:1)" in refused(table.place("big", 3, 0))
    table.observe(MEMORY_MB)
    assert placed(table.place("small", 1, 0)) == ("cuda:1",)


def test_a_device_whose_memory_is_taken_by_others_is_used_last() -> None:
    table = DeviceTable(MEMORY_MB)
    table.observe({"cuda:0": 400, "cuda:1": 1000, "cuda:2": 0})

    assert placed(table.place("m", 1, 500)) == ("cuda:1",)
    assert placed(table.place("small", 1, 300)) == ("cuda:0",)
    assert placed(table.place("more", 1, 600)) == ("cuda:2",)


def test_who_has_a_device_that_is_gone_is_known_by_its_first_such_rank() -> None:
    table = DeviceTable(MEMORY_MB)
    table.place("small", 1, 0)
    table.place("group", 2, 0)
    table.observe({})
    assert table.lost_ranks() == {"small": (0, "cuda:0"), "group": (0, "cuda:1")}
    table.observe({"cuda:0": 1000, "cuda:1": 1000})
    assert table.lost_ranks() == {"group": (1, "cuda:2")}

    table.release("group")
    assert table.lost_ranks() == {}


@pytest.mark.parametrize("count", [0, -1])
def test_a_spec_that_wants_no_device_gets_one(count: int) -> None:
    assert placed(DeviceTable(MEMORY_MB).place("m", count, 10)) == ("cuda:0",)


def test_releasing_what_is_not_there_is_nothing() -> None:
    DeviceTable(MEMORY_MB).release("m")


class DeviceMachine(RuleBasedStateMachine):
    """Models come and go; devices are never shared wrongly nor promised twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = DeviceTable(MEMORY_MB)
        self.placed: dict[str, Placed] = {}
        self.names = iter(f"m{number}" for number in range(1000))

    @rule(count=st.integers(1, 4), memory_mb=st.integers(0, 2500))
    def place(self, count: int, memory_mb: int) -> None:
        name = next(self.names)
        outcome = self.table.place(name, count, memory_mb)
        if isinstance(outcome, Placed):
            assert len(set(outcome.devices)) == count
            assert outcome.memory_mb * count >= memory_mb
            self.placed[name] = outcome
        else:
            fits = memory_mb <= 600 * count and count <= 3
            assert self.placed or not fits, "refused an empty neuron's devices"

    @precondition(lambda self: self.placed)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.placed)))
        gone = self.placed.pop(name)
        self.table.release(name)
        count = len(gone.devices)
        assert isinstance(self.table.place(name, count, gone.memory_mb * count), Placed)
        self.table.release(name)

    @invariant()
    def devices_are_shared_rightly(self) -> None:
        tenants: dict[str, list[Placed]] = defaultdict(list)
        for placement in self.placed.values():
            for device in placement.devices:
                tenants[device].append(placement)
        for device, here in tenants.items():
            assert len(here) == 1 or all(len(tenant.devices) == 1 for tenant in here)
            assert sum(tenant.memory_mb for tenant in here) <= MEMORY_MB[device]


TestDeviceMachine = DeviceMachine.TestCase
