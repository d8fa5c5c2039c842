"""Which sleepers there may be, against a list that is searched naively."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cortex_actors.neuron.warm_pool import Sleeper, WarmPool, short_of_memory
from tests.model.trials import holds, is_found_out
from transports.schemas.fleet import DeviceState, ModelState

MODELS = st.sampled_from("abcdef")
DEVICES = st.sampled_from([("cuda:0",), ("cuda:1",), ("cuda:0", "cuda:1")])
BUDGET = 10


class PoolMachine(RuleBasedStateMachine):
    """What is held never exceeds the budget, and no more leave than must, the oldest first."""

    pool_type: type[WarmPool] = WarmPool

    def __init__(self) -> None:
        super().__init__()
        self.pool = self.pool_type(BUDGET)
        self.asleep: list[Sleeper] = []

    @rule(model=MODELS, devices=DEVICES, held_mb=st.integers(0, BUDGET + 1))
    def admit(self, model: str, devices: tuple[str, ...], held_mb: int) -> None:
        others = [each for each in self.asleep if each.model != model]
        victims = self.pool.admit(Sleeper(model, devices, held_mb))
        if held_mb == 0 or held_mb > BUDGET:
            assert victims is None
            self.asleep = others
            return
        fewest = next(
            count
            for count in range(len(others) + 1)
            if sum(each.held_mb for each in others[count:]) + held_mb <= BUDGET
        )
        assert victims == tuple(each.model for each in others[:fewest])
        self.asleep = [*others[fewest:], Sleeper(model, devices, held_mb)]

    @rule(model=MODELS)
    def leave(self, model: str) -> None:
        self.pool.leave(model)
        self.asleep = [each for each in self.asleep if each.model != model]

    @rule(lost=st.sampled_from(["cuda:0", "cuda:1"]))
    def lose(self, lost: str) -> None:
        present = {"cuda:0", "cuda:1"} - {lost}
        on_it = tuple(each.model for each in self.asleep if lost in each.devices)
        assert self.pool.stranded(present) == on_it
        assert self.pool.in_the_way({lost}) == (on_it[0] if on_it else None)

    @invariant()
    def keeps_its_budget(self) -> None:
        assert self.pool.held_mb == {each.model: each.held_mb for each in self.asleep}
        assert sum(self.pool.held_mb.values()) <= BUDGET


class EndsTheLatest(WarmPool):  # type: ignore[misc]
    def admit(self, sleeper: Sleeper) -> tuple[str, ...] | None:
        self._sleepers = dict(reversed(self._sleepers.items()))
        found = super().admit(sleeper)
        self._sleepers = dict(reversed(self._sleepers.items()))
        return found


class CountsItselfTwice(WarmPool):  # type: ignore[misc]
    def admit(self, sleeper: Sleeper) -> tuple[str, ...] | None:
        found = super().admit(sleeper)
        return found if found is None else (*found, *found[:1])


class ForgetsTheBudget(WarmPool):  # type: ignore[misc]
    def admit(self, sleeper: Sleeper) -> tuple[str, ...] | None:
        self._sleepers[sleeper.model] = sleeper
        return ()


def machine(pool: type[WarmPool]) -> type[PoolMachine]:
    return type(pool.__name__, (PoolMachine,), {"pool_type": pool})


def test_the_pool_satisfies_its_model() -> None:
    holds(PoolMachine, examples=200, steps=30)


def test_naive_pools_are_found_out() -> None:
    for naive in (EndsTheLatest, CountsItselfTwice, ForgetsTheBudget):
        is_found_out(machine(naive), steps=30)


def test_without_a_budget_nobody_is_admitted() -> None:
    assert WarmPool(0).admit(Sleeper("m", ("cuda:0",), 1)) is None


def device(id_: str, free_mb: int, kind: str = "cuda") -> DeviceState:
    return DeviceState(id_, kind, "some", memory_total_mb=1000, memory_free_mb=free_mb)


def test_a_device_lacks_memory_that_neither_models_nor_a_driver_explain() -> None:
    pair = ModelState("m", "ready", devices=("cuda:0", "cuda:1"), memory_mb=800)
    devices = (device("cuda:0", 500), device("cuda:1", 499), device("cuda:2", 899))

    assert short_of_memory(devices, (pair,)) == {"cuda:1", "cuda:2"}
    assert short_of_memory((device("cpu:0", 0, "cpu"),), ()) == frozenset()
