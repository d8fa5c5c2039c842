"""A lease table among random holders, held against a list of who holds what."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cortex_actors.serving.lease_table import Grant, LeaseTable

# Two of one process, and one whose incarnation alone is the same.
HOLDERS = ((1, 1), (1, 2), (2, 1))
MODELS = ("m", "n")
NEURONS = ("a", "b")


class LeaseMachine(RuleBasedStateMachine):
    """Every lease ends exactly once, by its holder or with it, and is counted until then."""

    table_type: type[LeaseTable] = LeaseTable

    def __init__(self) -> None:
        super().__init__()
        self.table = self.table_type()
        self.open: list[Grant] = []
        self.ended: list[Grant] = []

    @rule(
        holder=st.sampled_from(HOLDERS),
        model=st.sampled_from(MODELS),
        neuron=st.sampled_from(NEURONS),
    )
    def grant(self, holder: tuple[int, int], model: str, neuron: str) -> None:
        grant = self.table.grant(holder, "request", model, neuron)
        assert (grant.holder, grant.model, grant.neuron) == (holder, model, neuron)
        assert grant.lease not in {known.lease for known in (*self.open, *self.ended)}
        self.open.append(grant)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        grant = data.draw(st.sampled_from(self.open))
        assert self.table.settle(grant.holder, grant.lease) == grant
        self.open.remove(grant)
        self.ended.append(grant)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), holder=st.sampled_from(HOLDERS))
    def use_again(self, data: st.DataObject, holder: tuple[int, int]) -> None:
        grant = data.draw(st.sampled_from(self.open))
        if grant.holder != holder:
            assert self.table.used(holder, grant.lease) is None
            return
        assert self.table.used(holder, grant.lease) == grant
        self.open[self.open.index(grant)] = replace(grant, request_id="")

    @precondition(lambda self: self.open)
    @rule(data=st.data(), holder=st.sampled_from(HOLDERS))
    def settle_what_another_holds(self, data: st.DataObject, holder: tuple[int, int]) -> None:
        grant = data.draw(st.sampled_from(self.open))
        if grant.holder != holder:
            assert self.table.settle(holder, grant.lease) is None

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        grant = data.draw(st.sampled_from(self.ended))
        assert self.table.settle(grant.holder, grant.lease) is None

    @rule(holder=st.sampled_from(HOLDERS))
    def lose(self, holder: tuple[int, int]) -> None:
        lost = [grant for grant in self.open if grant.holder == holder]
        assert list(self.table.release_all(holder)) == lost
        self.open = [grant for grant in self.open if grant not in lost]
        self.ended += lost

    @invariant()
    def what_is_out_is_counted(self) -> None:
        out = Counter((grant.model, grant.neuron) for grant in self.open)
        for model in MODELS:
            for neuron in NEURONS:
                assert self.table.outstanding(model, neuron) == out[model, neuron]
        assert len(self.table) == len(self.open)
