"""A scheduler among random events, held against ranks that remember exactly what they were fed."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.engine.scheduler import Drawn, Ended, Events, Limits, Scheduler
from neuron_runtime.engine.sequence import FinishReason, Sampling, Sequence
from transports.schemas.group import SampledToken, SampleParams, Step
from transports.schemas.link import Failure

EOS = 3
VOCABULARY = 9
CONTEXT = 24
LIMITS = Limits(max_running=3, max_queued=3, prefill_tokens=4)
GONE = Failure("cancelled", "gone")


def right_token(known: list[int], sample: SampleParams) -> int:
    """The one token that may follow ``known``."""
    return fake_token(known, sample) % VOCABULARY


class Ranks:
    """The caches of one epoch."""

    def __init__(self) -> None:
        self.fed: dict[int, list[int]] = {}

    def run(self, step: Step, parts: int | None = None) -> tuple[SampledToken, ...]:
        """Execute ``step``, or only its first ``parts`` parts."""
        tokens = []
        for sequence in step.forget:
            self.fed.pop(sequence, None)
        for part in step.sequences[:parts]:
            fed = self.fed.setdefault(part.sequence, [])
            assert part.position == len(fed), "fed at a place that was not reached"
            assert part.tokens, "fed nothing"
            fed.extend(part.tokens)
            if part.sample is not None:
                token = right_token(fed, part.sample)
                tokens.append(SampledToken(part.sequence, token))
        return tuple(tokens)


class SchedulerMachine(RuleBasedStateMachine):
    """Every accepted sequence: contiguous right tokens, then exactly one end; nothing is lost."""

    scheduler_type: type[Scheduler] = Scheduler

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = self.scheduler_type(LIMITS)
        self.scheduler.configure(CONTEXT, [EOS])
        self.ranks: Ranks | None = None
        self.now = 0.0
        self.minted = 0
        self.accepted: dict[int, Sequence] = {}
        self.shown: dict[int, int] = {}
        self.ended: set[int] = set()
        self.cached: set[int] = set()
        self.deaths: dict[int, int] = {}

    # -- events ---------------------------------------------------------------------------------

    @rule(
        prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
        | st.lists(st.just(1), min_size=CONTEXT - 4, max_size=CONTEXT + 1),
        max_tokens=st.none() | st.integers(1, 6),
        seed=st.none() | st.integers(0, 9),
        patience=st.none() | st.integers(1, 9),
    )
    def submit(
        self, prompt: list[int], max_tokens: int | None, seed: int | None, patience: int | None
    ) -> None:
        self.minted += 1
        sampling = Sampling() if seed is None else Sampling(temperature=1.0, seed=seed)
        deadline = None if patience is None else self.now + patience
        sequence = Sequence(self.minted, tuple(prompt), sampling, max_tokens, deadline, self.now)
        full = len(self.living()) >= LIMITS.max_running + LIMITS.max_queued
        too_long = len(prompt) >= CONTEXT
        refusal = self.scheduler.submit(sequence)
        assert (refusal is not None) == (full or too_long)
        if refusal is None:
            self.accepted[sequence.id] = sequence

    @rule()
    def open_step(self) -> None:
        was_open = self.scheduler.open_step
        step = self.scheduler.next_step(self.now)
        assert step is None or (was_open is None and self.ranks is not None)
        for part in step.sequences if step else ():
            assert part.sequence not in self.ended, "an ended sequence runs"

    @precondition(lambda self: self.scheduler.open_step is not None)
    @rule()
    def finish_step(self) -> None:
        step = self.scheduler.open_step
        assert step is not None
        assert self.ranks is not None
        self.cached |= {part.sequence for part in step.sequences}
        self.take(self.scheduler.step_done(self.ranks.run(step), self.now))

    @precondition(lambda self: self.ranks is not None)
    @rule(steps=st.integers(1, 4))
    def run_steps(self, steps: int) -> None:
        for _ in range(steps):
            self.open_step()
            if self.scheduler.open_step is not None:
                self.finish_step()

    @precondition(lambda self: self.scheduler.open_step is not None)
    @rule(parts=st.integers(0, 3))
    def fail_step(self, parts: int) -> None:
        step = self.scheduler.open_step
        assert step is not None
        assert self.ranks is not None
        self.ranks.run(step, parts)
        self.cached -= {part.sequence for part in step.sequences}
        events = self.scheduler.step_failed("step_failed", "no")
        assert len(events) <= 1, "an error of a batch ended more than its culprit"
        self.take(events)

    @precondition(lambda self: self.ranks is None)
    @rule()
    def start_group(self) -> None:
        self.ranks = Ranks()
        self.scheduler.group_ready()

    @precondition(lambda self: self.ranks is not None)
    @rule()
    def kill_group(self) -> None:
        step = self.scheduler.open_step
        self.ranks = None
        present = {part.sequence for part in step.sequences} if step else set(self.cached)
        self.cached.clear()
        for sequence in present:
            self.deaths[sequence] = self.deaths.get(sequence, 0) + 1
        events = self.scheduler.group_lost()
        for event in events:
            assert self.deaths.get(event.sequence.id, 0) >= 2, "an innocent was called poisonous"
        self.take(events)
        poisonous = {each for each in present if self.deaths[each] >= 2}
        assert not poisonous & set(self.living()), "a poisonous request goes on"

    @precondition(lambda self: self.ranks is not None)
    @rule()
    def crash_in_step(self) -> None:
        self.open_step()
        self.kill_group()
        self.start_group()

    @precondition(lambda self: self.scheduler.open_step is not None)
    @rule()
    def cancel_in_step(self) -> None:
        step = self.scheduler.open_step
        assert step is not None
        for part in step.sequences[:1]:
            self.take(self.scheduler.end(part.sequence, GONE))
        self.finish_step()

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), end=st.sampled_from([GONE, FinishReason.STOP]))
    def end_one(self, data: st.DataObject, end: Failure | FinishReason) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.accepted)))
        events = self.scheduler.end(sequence, end)
        assert len(events) == (0 if sequence in self.ended else 1)
        self.take(events)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.take(self.scheduler.expire(self.now))
        for number in self.living():
            deadline = self.accepted[number].deadline
            assert deadline is None or deadline > self.now, "a deadline was not kept"

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def integrity(self) -> None:
        self.scheduler.check_integrity()
        assert self.scheduler.running + self.scheduler.waiting == len(self.living()), "lost"

    def living(self) -> list[int]:
        return [number for number in self.accepted if number not in self.ended]

    def take(self, events: Events) -> None:
        for event in events:
            number = event.sequence.id
            assert number not in self.ended, "something came after the end"
            match event:
                case Drawn(sequence, index, token):
                    assert index == self.shown.get(number, 0), "an index is missing or repeated"
                    self.shown[number] = index + 1
                    known = [*sequence.prompt, *sequence.output[:index]]
                    assert token == right_token(known, sequence.sampling.at(index))
                    assert token != EOS
                case Ended():
                    self.ended.add(number)

    def teardown(self) -> None:
        """Left alone, everything ends, and the ranks remember nothing."""
        if self.ranks is None:
            self.start_group()
        for _ in range(400):
            if self.scheduler.open_step is None and self.scheduler.next_step(self.now) is None:
                break
            self.finish_step()
        assert not self.living(), "never ended"
        if self.accepted:
            self._leave_nothing_behind()

    def _leave_nothing_behind(self) -> None:
        # One more request, because after a failed step forgetting waits for the next that feeds.
        self.accepted[0] = Sequence(0, (1,), max_tokens=1)
        assert self.scheduler.submit(self.accepted[0]) is None
        while self.scheduler.next_step(self.now) is not None:
            self.finish_step()
        assert self.ranks is not None
        assert not self.ranks.fed, "a cache was left behind"
