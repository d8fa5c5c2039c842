"""Random histories of fan-outs, and what must hold in each (semantics 5.5, I1 to I8).

The machine plays the ranks, their links, the kernel and the clock. Every frame carries the truth
about which operation it answers; the collector under test sees only what a header says. So the
oracle is three lines (``truly_answers``), and a crossed answer shows in the payload.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.outcome import GroupFailure, Member, Ok, RequestFailure
from neuron_runtime.step import Closed, Kill, SendCancel, StepEffect, StepLimits
from tests.model.step_world import Collector, Frame, NewCollector, Process
from transports.schemas.group import StepDone
from transports.schemas.link import Failure

DEADLINE_S, GRACE_S, ERROR_GRACE_S, ROUND_S = 10.0, 0.5, 5.0, 20.0
RANKS = st.integers(0, 2)


class StepMachine(RuleBasedStateMachine):
    """Subclasses say which collector is tried."""

    new_collector: NewCollector

    @initialize(world=st.integers(1, 3))
    def start(self, world: int) -> None:
        self.world = world
        self.now = 0.0
        self.last_inc = 0
        self.operation = 0
        self.collector: Collector | None = None
        self.ends: dict[Member, StepDone | Failure | str] = {}
        self.outcomes = 0
        self.cancelled_at: float | None = None
        self.ordered: dict[Member, ExitKind] = {}
        self.frames: list[Frame] = []
        self.rounds: list[Frame] = []
        self.hurried = False
        self.notices: list[Member] = []
        self.spawn()

    # -- the world ------------------------------------------------------------------------------

    def spawn(self) -> None:
        self.processes = []
        for rank in range(self.world):
            self.last_inc += 1
            self.processes.append(Process(Member(rank, rank + 1, self.last_inc)))
        self.broken = False

    def is_open(self) -> bool:
        return self.collector is not None and len(self.ends) < self.world

    def usable(self) -> bool:
        return not self.is_open() and not self.broken

    def rank(self, rank: int) -> Process:
        return self.processes[rank % self.world]

    def current(self, member: Member) -> bool:
        return self.rank(member.rank).member == member

    def truly_answers(self, frame: Frame) -> bool:
        """The oracle: this life, asked this question, has not been heard yet."""
        asked = frame.operation == self.operation and self.current(frame.member)
        return asked and self.is_open() and frame.member not in self.ends

    def end_process(self, process: Process) -> None:
        if process.alive:
            process.alive = False
            process.asked = None
            self.notices.append(process.member)

    def make_answer(self, rank: int, code: str | None) -> Frame | None:
        process = self.rank(rank)
        if process.asked is None or process.stopped:
            return None
        operation, corr = process.asked
        process.asked = None
        done = StepDone(operation, process.member.rank)
        answer = Failure(code, f"{operation}") if code else done
        frame = Frame(process.member, corr, operation, answer)
        self.frames.append(frame)
        return frame

    # -- rules ----------------------------------------------------------------------------------

    @precondition(lambda self: self.usable())
    @rule()
    def begin(self) -> None:
        self.operation += 1
        self.ends = {}
        self.ordered = {}
        self.outcomes = 0
        self.cancelled_at = None
        members = tuple(process.member for process in self.processes)
        self.hurried = False
        limits = StepLimits(self.now + DEADLINE_S, GRACE_S, ERROR_GRACE_S, ROUND_S)
        self.due_at = limits.deadline
        collector = self.collector = type(self).new_collector(members, limits)
        for process in self.processes:
            process.last_seq += 1
            collector.sent(process.member.slot, process.last_seq)
            if process.alive:
                process.asked = (self.operation, process.last_seq)

    @rule(rank=RANKS)
    def reply(self, rank: int) -> None:
        self.make_answer(rank, None)

    @rule(rank=RANKS, code=st.sampled_from(["step_failed", "internal"]))
    def reply_with_an_error(self, rank: int, code: str) -> None:
        self.make_answer(rank, code)

    @precondition(lambda self: self.is_open())
    @rule(rank=RANKS, rounds=st.integers(1, 3), seconds=st.sampled_from([0.25, 6.0]))
    def end_rounds(self, rank: int, rounds: int, seconds: float) -> None:
        process = self.rank(rank)
        for _ in range(rounds):
            if process.asked is not None and not process.stopped:
                operation, corr = process.asked
                done = StepDone(operation, process.member.rank)
                self.rounds.append(Frame(process.member, corr, operation, done))
                self.deliver_round(self.rounds[-1])
            self.wait(seconds)

    @precondition(lambda self: self.is_open())
    @rule(rank=RANKS)
    def one_fails_while_another_goes_on(self, rank: int) -> None:
        if frame := self.make_answer(rank, "internal"):
            self.deliver_frame(frame)
        self.end_rounds(rank + 1, 2, 6.0)

    @precondition(lambda self: self.rounds)
    @rule(data=st.data())
    def hear_of_a_round_again(self, data: st.DataObject) -> None:
        self.deliver_round(data.draw(st.sampled_from(self.rounds)))

    @rule(twice=st.booleans())
    def all_reply(self, twice: bool) -> None:
        for rank in range(self.world):
            if frame := self.make_answer(rank, None):
                self.deliver_frame(frame)
                self.frames += [frame] * twice

    @rule()
    def all_report_the_same_error(self) -> None:
        for rank in range(self.world):
            if frame := self.make_answer(rank, "step_failed"):
                self.deliver_frame(frame)

    @rule()
    def the_leader_fails_while_the_others_have_answered(self) -> None:
        for rank in range(1, self.world):
            self.make_answer(rank, None)
        if frame := self.make_answer(0, "internal"):
            self.deliver_frame(frame)

    @precondition(lambda self: self.frames)
    @rule(data=st.data(), copies=st.sampled_from([1, 1, 2]), again=st.booleans())
    def deliver_in_any_order(self, data: st.DataObject, copies: int, again: bool) -> None:
        frame = data.draw(st.sampled_from(self.frames))
        for _ in range(copies):
            self.deliver_frame(frame)
        if again:
            self.frames.append(frame)

    @precondition(lambda self: self.frames)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.frames.remove(data.draw(st.sampled_from(self.frames)))

    @rule(rank=RANKS)
    def kill(self, rank: int) -> None:
        self.end_process(self.rank(rank))

    @precondition(lambda self: self.notices)
    @rule(data=st.data(), again=st.booleans())
    def notify_a_death(self, data: st.DataObject, again: bool) -> None:
        member = data.draw(st.sampled_from(self.notices))
        if not again:
            self.notices.remove(member)
        self.deliver_death(member)

    @precondition(lambda self: self.ordered)
    @rule()
    def execute_the_kills(self) -> None:
        for member in self.ordered:
            self.end_process(self.rank(member.rank))

    @precondition(lambda self: not self.is_open())
    @rule()
    def restart(self) -> None:
        self.spawn()
        self.ordered = {}

    @precondition(lambda self: self.is_open())
    @rule(rank=RANKS)
    def the_group_is_replaced_with_an_answer_in_flight(self, rank: int) -> None:
        self.make_answer(rank, None)
        for process in self.processes:
            self.end_process(process)
            self.deliver_death(process.member)
        self.restart()
        self.begin()

    @rule(rank=RANKS, stopped=st.booleans())
    def stop_or_continue(self, rank: int, stopped: bool) -> None:
        self.rank(rank).stopped = stopped

    @precondition(lambda self: self.is_open())
    @rule(rank=RANKS)
    def lose_the_link(self, rank: int) -> None:
        assert self.collector
        member = self.rank(rank).member
        known = member in self.ends or member in self.ordered
        effects = self.collector.lost(member.slot, member.inc, "lost its link")
        assert len(effects) == (0 if known else 1)
        self.observe(effects)

    @precondition(lambda self: self.is_open())
    @rule()
    def cancel(self) -> None:
        assert self.collector
        self.collector.cancel(self.now)
        self.hurried = True
        self.due_at = min(self.due_at, self.now)
        self.tick()

    @rule(seconds=st.sampled_from([0.25, 0.5, 3.0, 6.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    # -- what the collector is told, and what it says -------------------------------------------

    def deliver_frame(self, frame: Frame) -> None:
        if frame in self.frames:
            self.frames.remove(frame)
        if self.collector is None:
            return
        accepted = self.truly_answers(frame)
        before = sum(self.collector.drops.drops.values())
        if accepted:
            self.ends[frame.member] = frame.answer
            if isinstance(frame.answer, Failure):
                self.hurried = True
                self.due_at = min(self.due_at, self.now + ERROR_GRACE_S)
        member = frame.member
        effects = self.collector.answered(
            member.slot, member.inc, frame.corr, frame.answer, self.now
        )
        assert accepted or effects == (), "a stranger's answer had an effect"
        dropped = sum(self.collector.drops.drops.values()) - before
        assert accepted or dropped == 1, "a stranger's answer was accepted, or not counted"
        assert not accepted or dropped == 0, "an answer that was waited for was dropped"
        self.observe(effects)

    def deliver_round(self, frame: Frame) -> None:
        assert self.collector
        member, counts = frame.member, self.truly_answers(frame)
        told = self.collector.progressed(member.slot, member.inc, frame.corr, self.now)
        assert told == counts, "a stranger's round was believed, or one that was waited for was not"
        if counts and not self.hurried and self.cancelled_at is None:
            self.due_at = self.now + ROUND_S

    def deliver_death(self, member: Member) -> None:
        if self.current(member):
            self.broken = True
        if self.collector is None:
            return
        counts = self.is_open() and self.current(member) and member not in self.ends
        if counts:
            self.ends[member] = "death"
        effects = self.collector.died(member.slot, member.inc, "killed by SIGKILL")
        assert counts or effects == (), "the death of a stranger had an effect"
        self.observe(effects)
        if counts:
            waited_for = {p.member for p in self.processes} - set(self.ends)
            assert waited_for <= set(self.ordered), "after a death nobody is waited for unkilled"

    def tick(self) -> None:
        if self.collector is None:
            return
        was_open = self.is_open()
        effects = self.collector.tick(self.now)
        assert not any(isinstance(effect, Closed) for effect in effects), "I4: time resolved it"
        due = was_open and not self.ordered and self.now >= self.due_at
        if due and self.cancelled_at is None:
            asked = {process.member for process in self.processes} - set(self.ends)
            assert {e.member for e in effects if isinstance(e, SendCancel)} == asked
            self.cancelled_at = self.now
        self.observe(effects)

    def observe(self, effects: tuple[StepEffect, ...]) -> None:
        for effect in effects:
            match effect:
                case SendCancel(member):
                    assert member not in self.ends
                    assert self.now >= self.due_at
                    self.cancelled_at = self.now
                case Kill(member, kind, _):
                    assert self.is_open()
                    assert member not in self.ends, "I4: it has answered"
                    assert member not in self.ordered, "killed twice"
                    if kind is ExitKind.STALLED:
                        assert self.cancelled_at is not None
                        assert self.now >= self.cancelled_at + GRACE_S
                    self.ordered[member] = kind
                case Closed(outcome):
                    self.outcomes += 1
                    self.check(outcome)

    def check(self, outcome: Ok | RequestFailure | GroupFailure) -> None:
        assert len(self.ends) == self.world, "I1, I3: closed before all were heard"
        ends = [self.ends[process.member] for process in self.processes]
        failed = [p.member for p in self.processes if not isinstance(self.ends[p.member], StepDone)]
        codes = {end.code if isinstance(end, Failure) else "" for end in ends}
        if not failed:
            assert outcome == Ok(tuple(StepDone(self.operation, r) for r in range(self.world)))
        elif len(failed) == self.world and len(codes) == 1 and "" not in codes:
            assert outcome == RequestFailure(codes.pop(), f"{self.operation}")
        else:
            assert isinstance(outcome, GroupFailure)
            assert [failure.member for failure in outcome.failures] == failed
            self.broken = True

    @invariant()
    def closed_exactly_when_all_are_heard(self) -> None:
        if self.collector is None:
            return
        assert self.collector.closed == (not self.is_open()), "I1, I2"
        assert self.outcomes == int(self.collector.closed), "I6"

    def teardown(self) -> None:
        """I7: whatever has happened, deadline, grace and kill end the operation.

        And whatever is still on its way reaches the operations that follow.
        """
        if getattr(self, "collector", None) is None:
            return
        for seconds in (ROUND_S, GRACE_S):
            self.now += seconds
            self.tick()
        assert not self.is_open() or self.ordered
        for _ in range(2):
            for member in self.ordered:
                self.end_process(self.rank(member.rank))
            for member in list(self.notices):
                self.deliver_death(member)
        assert not self.is_open(), "I7"
        self.closed_exactly_when_all_are_heard()
        late = list(self.frames)
        for fresh in (False, True):
            if fresh or self.broken:
                self.restart()
            self.begin()
            for frame in late:
                self.deliver_frame(frame)
            self.revive_and_reply()
            self.closed_exactly_when_all_are_heard()

    def revive_and_reply(self) -> None:
        for process in self.processes:
            process.stopped = False
            if not process.alive:
                self.deliver_death(process.member)
        self.all_reply(twice=False)
        for process in self.processes:
            if self.is_open():
                self.end_process(process)
                self.deliver_death(process.member)
