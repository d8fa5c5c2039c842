"""A queue of embeddings among random events, held against ranks that keep nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neuron_runtime.backends.fake import VECTOR_LENGTH, fake_vector
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.embedding_queue import (
    EmbeddingLimits,
    EmbeddingQueue,
    JobDone,
    JobEnds,
)
from transports.schemas.group import EmbedStep
from transports.schemas.link import Failure

LIMITS = EmbeddingLimits(
    max_running=2, max_queued=3, alive_tokens=50, step_tokens=6, step_sequences=3
)
GONE = Failure("cancelled", "gone")
TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=8).map(tuple)


class EmbeddingMachine(RuleBasedStateMachine):
    """Every accepted job: its own vectors in order, or one failure; nothing is lost."""

    queue_type: type[EmbeddingQueue] = EmbeddingQueue

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.queue_type(LIMITS)
        self.ready = False
        self.open: EmbedStep | None = None
        self.in_step: set[int] = set()
        self.begun: set[int] = set()
        self.now = 0.0
        self.minted = 0
        self.accepted: dict[int, EmbeddingJob] = {}
        self.ended: set[int] = set()
        self.deaths: dict[int, int] = {}
        self.failures = 0

    # -- events ---------------------------------------------------------------------------------

    @rule(
        inputs=st.lists(TOKENS, min_size=1, max_size=5).map(tuple),
        patience=st.none() | st.integers(1, 9),
        principal=st.sampled_from(("a", "a", "b", "")),
    )
    def submit(
        self, inputs: tuple[tuple[int, ...], ...], patience: int | None, principal: str = ""
    ) -> None:
        self.minted += 1
        # The first token tells whose an input is.
        own = tuple((100 + self.minted, *tokens) for tokens in inputs)
        deadline = None if patience is None else self.now + patience
        job = EmbeddingJob(self.minted, own, None, deadline, self.now, principal)
        if not self.has_room(self.living()):
            self.make_way(principal)
        refusal = self.queue.submit(job)
        assert (refusal is None) == self.has_room(self.living())
        if refusal is None:
            self.accepted[job.id] = job

    def check_turns(self, picked: list[int]) -> None:
        """Nobody has two turns in a step while another one that wants one has none between."""
        jobs = [self.accepted[number] for number in self.living()]
        if any(job.alone for job in jobs):
            return
        names = [self.accepted[number].principal for number in picked]
        wanting = {job.principal for job in jobs if job.pending and job.principal}
        assert not (wanting and "" in names), "one without a name goes first"
        for at, name in enumerate(names):
            if name in names[:at]:
                last = at - names[:at][::-1].index(name)
                assert wanting - {name} <= set(names[last:at]), "a principal is passed over"

    def make_way(self, principal: str) -> None:
        """Whoever gives way has no name, or holds more, and has not begun; and it is of use."""
        living = self.living()
        for job in (gone := self.queue.giving_way(principal, ())):
            assert isinstance(job, EmbeddingJob)
            assert job.id in self.may_give_way(principal, living), "one gave way that had not to"
            living.remove(job.id)
            self.take(self.queue.end(job.id, GONE))
        assert not gone or self.has_room(living), "one gave way for nothing"
        while not gone and (others := self.may_give_way(principal, living)):
            living.remove(others[0])
            assert not self.has_room(living), "none gave way"

    def may_give_way(self, principal: str, living: list[int]) -> list[int]:
        """Return who would be next to give way: the youngest of those that hold most."""
        if not principal:
            return []
        held = Counter(self.accepted[number].principal for number in living)
        waiting = [number for number in living if number not in self.begun]
        youngest = {self.accepted[number].principal: number for number in waiting}
        if "" in youngest:
            return [youngest[""]]
        most = max((held[name] for name in youngest), default=0)
        names = [name for name in youngest if held[name] == most > held[principal] + 1]
        return [youngest[name] for name in names]

    def has_room(self, living: list[int]) -> bool:
        """Whether one more is accepted beside these."""
        tokens = sum(self.accepted[number].tokens for number in living)
        most = LIMITS.max_running + LIMITS.max_queued
        return len(living) < most and tokens < LIMITS.alive_tokens

    @rule()
    def open_step(self) -> None:
        step = self.queue.next_step()
        assert step is None or (self.open is None and self.ready)
        if step is None:
            return
        self.open = step
        self.in_step = {sequence[0] - 100 for sequence in step.sequences}
        self.begun |= self.in_step
        assert step.sequences
        assert not self.in_step & self.ended, "an ended job runs"
        assert len(step.sequences) <= LIMITS.step_sequences
        self.check_turns([sequence[0] - 100 for sequence in step.sequences])
        tokens = sum(map(len, step.sequences))
        assert tokens <= LIMITS.step_tokens or len(step.sequences) == 1, "a step is too large"

    @precondition(lambda self: self.open is not None)
    @rule()
    def finish_step(self) -> None:
        step, self.open = self.open, None
        assert step is not None
        self.take(self.queue.step_done(VECTOR_LENGTH, b"".join(map(fake_vector, step.sequences))))

    @precondition(lambda self: self.ready)
    @rule(steps=st.integers(1, 4))
    def run_steps(self, steps: int) -> None:
        for _ in range(steps):
            self.open_step()
            if self.open is not None:
                self.finish_step()

    @precondition(lambda self: self.open is not None)
    @rule()
    def fail_step(self) -> None:
        suspects = self.in_step & set(self.living())
        self.open = None
        ends = self.queue.step_failed("step_failed", "no")
        assert len(ends) == (1 if len(suspects) == 1 else 0), "an error ended more than its culprit"
        self.take(ends)
        if len(suspects) > 1 and self.queue.next_step() is not None:
            places = self.queue._open
            assert places is not None
            assert len({job for job, _ in places}) == 1, "a suspect shares a step"
            self.take(self.queue.step_failed("step_failed", "no"))

    @precondition(lambda self: self.open is not None)
    @rule()
    def run_out_of_memory(self) -> None:
        """Smaller steps follow, until one of a single input ends its job."""
        step, places = self.open, 2
        while step is not None and places > 1:
            places, fed = len(step.sequences), sum(map(len, step.sequences))
            alone = self.in_step & set(self.living())
            ends = self.queue.step_failed("out_of_memory", "no")
            assert len(ends) == (places == 1 and len(alone)), "memory ended more than its culprit"
            self.take(ends)
            step = self.queue.next_step()
            if step is not None and places > 1 and len(step.sequences) > 1:
                assert sum(map(len, step.sequences)) <= fed // 2, "as large as before"
            self.in_step = {each[0] - 100 for each in step.sequences} if step else set()
        self.open = step

    @precondition(lambda self: self.ready)
    @rule()
    def fail_together(self) -> None:
        if self.open is not None:
            self.finish_step()
        for _ in range(2):
            self.submit(((1,),), None)
        self.open_step()
        if self.open is not None:
            self.fail_step()

    @precondition(lambda self: not self.ready)
    @rule()
    def start_group(self) -> None:
        self.ready = True
        self.queue.group_ready()

    @precondition(lambda self: self.ready)
    @rule()
    def kill_group(self) -> None:
        present = self.in_step & set(self.living()) if self.open is not None else set()
        self.ready, self.open = False, None
        for number in present:
            self.deaths[number] = self.deaths.get(number, 0) + 1
        ends = self.queue.group_lost()
        for end in ends:
            assert self.deaths.get(end.job.id, 0) >= 2, "an innocent was called poisonous"
        self.take(ends)
        poisonous = {number for number in present if self.deaths[number] >= 2}
        assert not poisonous & set(self.living()), "a poisonous job goes on"

    @precondition(lambda self: self.ready)
    @rule()
    def crash_in_step(self) -> None:
        self.open_step()
        self.kill_group()
        self.start_group()

    @precondition(lambda self: self.open is not None)
    @rule()
    def cancel_in_step(self) -> None:
        for number in sorted(self.in_step & set(self.living()))[:1]:
            self.take(self.queue.end(number, GONE))
        self.finish_step()

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.accepted)))
        ends = self.queue.end(number, GONE)
        assert len(ends) == (0 if number in self.ended else 1)
        self.take(ends)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.take(self.queue.expire(self.now))
        deadlines = [self.accepted[number].deadline for number in self.living()]
        known = [deadline for deadline in deadlines if deadline is not None]
        assert all(deadline > self.now for deadline in known), "a deadline was not kept"
        assert self.queue.next_deadline() == min(known, default=None)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def integrity(self) -> None:
        self.queue.check_integrity()
        assert self.queue.running + self.queue.waiting == len(self.living()), "lost"

    def living(self) -> list[int]:
        return [number for number in self.accepted if number not in self.ended]

    def take(self, ends: JobEnds) -> None:
        for end in ends:
            number = end.job.id
            assert number not in self.ended, "something came after the end"
            self.ended.add(number)
            if isinstance(end, JobDone):
                rows = [end.job.rows[index] for index in range(len(end.job.inputs))]
                assert rows == [fake_vector(tokens) for tokens in end.job.inputs], "wrong vectors"

    def teardown(self) -> None:
        """Left alone, everything ends."""
        if not self.ready:
            self.start_group()
        for _ in range(200):
            if self.open is None:
                self.open_step()
            if self.open is None:
                break
            self.finish_step()
        assert not self.living(), "never ended"
        assert self.queue.idle
