"""Kept leases among random requests, held against a list of who has what and who was told what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cortex_actors.http.kept_leases import IDLE_S, HeldLease, KeptLeases, Told
from tests.unit.serving.doubles import FakeLink
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled

NAMES = ("m", "m", "m", "n")
TASKS = ("generate", "generate", "generate", "embed")
AVOIDED = ((), (), (), ("x",))
ENGINES = ("a", "b")
KEEP_S = (0.0, 0.003, 0.1, 0.1)
OUTCOMES = ("completed", "completed", "cancelled", "worker_died")
"""The usual ones more often, so that leases meet requests that they would do for."""


class KeptLeaseMachine(RuleBasedStateMachine):
    """One request at a time has a lease, in its time; each request is told once, its end last."""

    kept_type: type[KeptLeases] = KeptLeases

    def __init__(self) -> None:
        super().__init__()
        self.kept = self.kept_type()
        self.now = 1.0
        self.links = [FakeLink()]
        self.ids = count(1)
        self.running: dict[str, tuple[HeldLease, LeaseRequest]] = {}
        self.idle: dict[int, float] = {}
        """Leases that nobody uses and that have not been given back, and since when."""
        self.granted: dict[int, tuple[HeldLease, LeaseRequest, float]] = {}
        self.over: list[tuple[int, str, str]] = []
        """Lease, request and outcome of what is over and not told."""
        self.ended: set[int] = set()
        self.sick: set[int] = set()
        """Idle leases whose engine has failed another request."""

    @rule(
        name=st.sampled_from(NAMES),
        task=st.sampled_from(TASKS),
        engine=st.sampled_from(ENGINES),
        keep_s=st.sampled_from(KEEP_S),
        avoided=st.sampled_from(AVOIDED),
    )
    def ask(
        self, name: str, task: str, engine: str, keep_s: float, avoided: tuple[str, ...]
    ) -> None:
        number = next(self.ids)
        wanted = LeaseRequest(f"r{number}", name, avoid=avoided, task=task, prefix=(number,))
        held = self.kept.take(wanted, self.links[-1], self.now)
        if held is None:
            lease = Lease(number, name, "here", engine, keep_s=keep_s)
            held = self.kept.granted(lease, wanted, self.links[-1], self.now)
            self.granted[number] = held, wanted, self.now
        else:
            self._may_be_taken(held, wanted)
            del self.idle[held.lease.lease]
        self.running[wanted.request_id] = held, wanted

    def _may_be_taken(self, held: HeldLease, wanted: LeaseRequest) -> None:
        lease = held.lease.lease
        _, first, since = self.granted[lease]
        assert not wanted.avoid
        assert lease in self.idle
        assert lease not in self.sick
        assert held.link is self.links[-1]
        assert self.now < since + held.lease.keep_s
        assert (first.model, first.task) == (wanted.model, wanted.task)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def end(self, data: st.DataObject, outcome: str) -> None:
        request = data.draw(st.sampled_from(sorted(self.running)))
        held, _ = self.running.pop(request)
        lease = held.lease.lease
        self.over.append((lease, request, outcome))
        urgent = self.kept.ended(held, LeaseSettled(lease, outcome), self.now)
        if outcome == "worker_died":
            self._is_sick(held.lease.endpoint)
            assert urgent
        self.idle[lease] = self.now
        if urgent:
            self._hear(self.kept.due(self.now))
            assert outcome != "worker_died" or lease in self.ended

    @rule(what=st.sampled_from(("link", "all", *ENGINES)))
    def lose(self, what: str) -> None:
        if what == "link":
            self.links.append(FakeLink())
        elif what == "all":
            self._hear(self.kept.end_all())
            assert not self.over
            assert not self.idle
            assert self.kept.is_empty
        else:
            self._is_sick(what)
            self.kept.lost(what)
            self._hear(self.kept.due(self.now))
            assert not self.sick & set(self.idle)

    def _is_sick(self, engine: str) -> None:
        self.sick |= {each for each in self.idle if self.granted[each][0].lease.endpoint == engine}

    @rule(seconds=st.sampled_from((0.002, 0.005, 0.02)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._hear(self.kept.due(self.now))
        late = [each for each, since in self.idle.items() if self.now >= since + IDLE_S]
        assert not late, "idle for too long"

    def _hear(self, told: Sequence[Told]) -> None:
        for link, settled in told:
            lease = settled.lease
            held, first, _ = self.granted[lease]
            assert link is held.link
            assert lease not in self.ended, "settled after its end"
            request = settled.request_id or first.request_id
            prefix = settled.prefix or first.prefix
            due = next(each for each in self.over if each[0] == lease)
            assert (lease, request, settled.outcome) == due, "not in order, or twice"
            assert prefix == (int(request[1:]),)
            self.over.remove(due)
            if not settled.kept:
                self.ended.add(lease)
                del self.idle[lease]

    @invariant()
    def something_is_due_as_long_as_anything_is_untold(self) -> None:
        assert not (self.over or self.idle) or not self.kept.is_empty
