"""A scheduler among random events, held against ranks that know only what is in their blocks."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neuron_runtime.engine.events import Drawn, Ended, Events
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import FinishReason, Request, Sampling, Sequence
from neuron_runtime.following_step import following
from tests.model.all_allowed import AllAllowed
from tests.model.block_ranks import VOCABULARY, BlockRanks, right_token
from transports.schemas.group import Step
from transports.schemas.link import Failure

EOS = 3
CONTEXT, SHORT = 24, 9
BLOCKS = 13
LIMITS = Limits(
    max_running=3, max_queued=4, prefill_tokens=5, step_tokens=6, block_tokens=2, rounds=3
)
GONE = Failure("cancelled", "gone")
CROWDS = st.sampled_from(["", "a", "b"])
PATIENCE = 3
"""For so many steps in which no prompt is computed, a principal may have to wait for a seat."""

SAMPLINGS = (Sampling(), Sampling(1.0, seed=1), Sampling(1.0, seed=2, repetition_penalty=1.5))
PROMPTS = (
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
    | st.lists(st.just(1), min_size=1, max_size=CONTEXT + 1)
    | st.integers(1, 12).map(lambda length: [1, 2, 4, 5, 6, 7, 8, 1, 2, 4, 5, 6][:length])
)


class SchedulerMachine(RuleBasedStateMachine):
    """Every accepted sequence: contiguous right tokens, then exactly one end; nothing is lost.

    ``seated`` have a table on the ranks, ``suspects`` were in a step that failed.
    """

    scheduler_type: type[Scheduler] = Scheduler

    def __init__(self) -> None:
        super().__init__()
        # Some tokens are parts of characters.
        self.scheduler = self.scheduler_type(LIMITS, b"", lambda token: (b"a", b"\xe2")[token % 2])
        self.scheduler.configure(CONTEXT, [EOS], BLOCKS, alone=True, short_context=SHORT)
        self.ranks: BlockRanks | None = None
        self.passed_by = 0
        self.now = 0.0
        self.minted = 0
        self.accepted: dict[int, Sequence] = {}
        self.shown: dict[int, int] = {}
        self.ended: set[int] = set()
        self.seated: set[int] = set()
        self.suspects: set[int] = set()
        self.had_a_seat: set[int] = set()
        self.deaths: dict[int, int] = {}
        self.waited: Counter[str] = Counter()

    # -- events ---------------------------------------------------------------------------------

    @rule(
        prompt=PROMPTS,
        max_tokens=st.none() | st.integers(1, 6),
        sampling=st.sampled_from(SAMPLINGS),
        patience=st.none() | st.integers(1, 9),
        principal=st.sampled_from(["", "a", "b"]),
        endless=st.booleans(),
        count=st.sampled_from([1, 1, 1, 2, 3]),
    )
    def submit(
        self,
        prompt: list[int],
        max_tokens: int | None,
        sampling: Sampling,
        patience: int | None,
        principal: str,
        endless: bool,
        count: int,
    ) -> None:
        deadline = None if patience is None else self.now + patience
        request = Request()
        sequences = [
            Sequence(
                self.minted + choice + 1,
                tuple(prompt),
                sampling.of_choice(choice),
                max_tokens,
                deadline,
                self.now,
                principal,
                request,
                ignore_eos=endless,
                mask=AllAllowed() if sampling.temperature else None,
            )
            for choice in range(count)
        ]
        self.minted += count
        too_long = len(prompt) >= CONTEXT
        self._make_way(sequences, too_long=too_long)
        full = self._places() < count
        refusal = self.scheduler.submit(*sequences)
        assert (refusal is not None) == (full or too_long)
        if refusal is None:
            self.accepted |= {each.id: each for each in sequences}

    def _make_way(self, sequences: list[Sequence], *, too_long: bool) -> None:
        """Whoever gives way holds more places, or has no name, and none of it has begun."""
        mine, count, free = sequences[0].principal, len(sequences), self._places()
        held = Counter(self.accepted[number].principal for number in self.living())
        can_go = self._not_begun()
        refusal = self.scheduler.refusal(count, mine)
        events = self.scheduler.make_way(*sequences)
        self.take(events)
        if free >= count or too_long:
            assert not events, "somebody had to go for nothing"
            return
        gone = {event.sequence.id for event in events}
        assert gone <= can_go, "one that has begun had to go"
        assert (refusal is None) == bool(gone), "it was not said what would be"
        assert not gone or self._places() >= count, "some had to go, and it was not enough"
        for each in gone:
            theirs = self.accepted[each].principal
            assert mine, "one without a name was let in before others"
            assert not theirs or held[theirs] > held[mine] + count, "one with fewer had to go"
            kept = {self.accepted[number].principal for number in can_go - gone}
            assert not theirs or "" not in kept, "one without a name was kept"
            later = {n for n in can_go - gone if self.accepted[n].principal == theirs}
            assert not later or max(later) < each, "not the youngest had to go"
        if mine and count == 1 and not gone:
            lines = {self.accepted[number].principal for number in can_go}
            assert all(each and held[each] <= held[mine] + 1 for each in lines), "none gave way"

    def _places(self) -> int:
        """How many more would be accepted."""
        return LIMITS.max_running + LIMITS.max_queued - len(self.living())

    def _not_begun(self) -> set[int]:
        """Those of whose request no sequence has had a seat."""
        begun = {self.accepted[number].request for number in self.had_a_seat}
        return {n for n in self.living() if self.accepted[n].request not in begun}

    @precondition(lambda self: self.ranks is not None)
    @rule(crowd=st.sampled_from(["", "a"]), count=st.integers(2, 4))
    def crowd_and_one(self, crowd: str, count: int) -> None:
        """One key sends many requests, then another key sends one."""
        self.submit([1], None, SAMPLINGS[0], None, crowd, endless=True, count=count)
        self.run_steps(2)
        self.submit([2], None, SAMPLINGS[0], None, "b", endless=True, count=1)
        self.run_steps(6)

    @precondition(lambda self: self.ranks is not None)
    @rule(crowd=st.sampled_from(["", "a"]))
    def answer_a_part_and_come(self, crowd: str) -> None:
        """Some choices of a request have ended, others still wait, when others come."""
        self.submit([1], 1, SAMPLINGS[0], None, crowd, endless=True, count=3)
        self.run_steps(2)
        self.fill_and_come("b", 1)
        self.fill_and_come(crowd, 1)

    @rule(crowd=CROWDS, newcomers=st.integers(1, 2), length=st.sampled_from([1, 1, CONTEXT]))
    def fill_and_come(self, crowd: str, newcomers: int, length: int = 1) -> None:
        """One key takes every place that is left, then another wants some, perhaps in vain."""
        for _ in range(self._places()):
            self.submit([1], None, SAMPLINGS[0], None, crowd, endless=True, count=1)
        self.submit([2] * length, None, SAMPLINGS[0], None, "b", endless=True, count=newcomers)

    @precondition(lambda self: self.ranks is not None)
    @rule()
    def come_while_another_goes_on(self) -> None:
        """Its rounds are to end, if it is alone and has some left."""
        self.submit([1], None, SAMPLINGS[0], None, "a", endless=True, count=1)
        self.run_steps(2)
        self.open_step()
        self.submit([2], None, SAMPLINGS[0], None, "b", endless=True, count=1)

    @rule()
    def open_step(self) -> None:
        was_open = self.scheduler.open_step
        step = self.scheduler.next_step(self.now)
        assert step is None or (was_open is None and self.ranks is not None)
        if step is None:
            return
        assert not {part.sequence for part in step.sequences} & self.ended, "an ended one runs"
        self.passed_by = self.scheduler.waiting
        alone = {part.sequence for part in step.sequences} == self.seated_alive(step)
        if step.rounds > 1 and (self.passed_by or not alone):
            outputs = [self.accepted[part.sequence].output for part in step.sequences]
            unseen = any(output[-1:] and output[-1] % 2 for output in outputs)
            assert unseen, "some wait for ranks that go on by themselves"
        masked = [p for p in step.sequences if p.sample is not None and p.sample.masked]
        if any(self.accepted[part.sequence].mask is not None for part in step.sequences):
            assert step.rounds == 1, "a mask follows from what is drawn"
        assert len(self.scheduler.open_masks) == 4 * len(masked)
        self.seated -= set(step.forget)
        self._check_admissions(step)
        self.seated |= {part.sequence for part in step.sequences}
        self.had_a_seat |= self.seated
        self._check_waiting(step)

    @precondition(lambda self: self.scheduler.open_step is not None)
    @rule(goes_on=st.booleans())
    def finish_step(self, goes_on: bool = False) -> None:
        """Or only one round of it, while the ranks begin the next as they know best."""
        step = self.scheduler.open_step
        assert step is not None
        assert self.ranks is not None
        tokens = self.ranks.run(step)
        more = goes_on and step.rounds > 1
        self.take(self.scheduler.step_done(tokens, self.now, more=more))
        expected = following(step, tokens) if more else None
        assert self.scheduler.open_step == expected, "the ranks are at something else"

    @precondition(lambda self: self.ranks is not None)
    @rule(steps=st.integers(1, 6), goes_on=st.booleans())
    def run_steps(self, steps: int, goes_on: bool = False) -> None:
        for _ in range(steps):
            self.open_step()
            if self.scheduler.open_step is not None:
                self.finish_step(goes_on)

    @precondition(lambda self: self.scheduler.open_step is not None)
    @rule(parts=st.integers(0, 3), code=st.sampled_from(["step_failed", "out_of_memory"]))
    def fail_step(self, parts: int, code: str) -> None:
        step = self.scheduler.open_step
        assert step is not None
        assert self.ranks is not None
        self.ranks.run(step, parts)
        batch = {part.sequence for part in step.sequences}
        events = self.scheduler.step_failed(code, "no")
        assert len(events) <= 1, "an error of a batch ended more than its culprit"
        self.seated -= batch
        self.suspects |= batch
        self.take(events)

    @precondition(lambda self: self.ranks is None)
    @rule()
    def start_group(self) -> None:
        self.ranks = BlockRanks(BLOCKS, LIMITS.block_tokens, SHORT)
        self.scheduler.group_ready()

    @precondition(lambda self: self.ranks is not None)
    @rule()
    def kill_group(self) -> None:
        step = self.scheduler.open_step
        self.ranks = None
        present = {part.sequence for part in step.sequences} if step else set(self.seated)
        self.seated.clear()
        for sequence in present:
            self.deaths[sequence] = self.deaths.get(sequence, 0) + 1
        events = self.scheduler.group_lost()
        for event in events:
            assert self.deaths.get(event.sequence.id, 0) >= 2, "an innocent was called poisonous"
        self.take(events)
        if len(present) > 1:
            self.suspects |= present & set(self.living())
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
        step = self.scheduler.open_step
        if step is not None and step.rounds > 1:
            gone = any(part.sequence in self.ended for part in step.sequences)
            due = gone or self.scheduler.waiting > self.passed_by
            assert self.scheduler.rounds_to_end == (step.step if due else None)

    def living(self) -> list[int]:
        return [number for number in self.accepted if number not in self.ended]

    def seated_alive(self, step: Step) -> set[int]:
        """Who has a seat once ``step`` has begun."""
        new = {part.sequence for part in step.sequences if part.begin}
        return {each for each in self.seated | new if each not in self.ended}

    def seats(self) -> Counter[str]:
        """How many have a seat, by principal."""
        return Counter(self.accepted[n].principal for n in self.seated if n not in self.ended)

    def waiting(self) -> set[str]:
        """Principals of which some wait for a seat."""
        without = set(self.living()) - self.seated - self.suspects
        return {self.accepted[number].principal for number in without}

    def take(self, events: Events) -> None:
        for event in events:
            number = event.sequence.id
            assert number not in self.ended, "something came after the end"
            match event:
                case Drawn(sequence, index, token):
                    assert index == self.shown.get(number, 0), "an index is missing or repeated"
                    self.shown[number] = index + 1
                    self.suspects.discard(number)
                    if sequence.length == SHORT + 1:
                        self.seated.discard(number)  # it waits to be computed anew
                    known = [*sequence.prompt, *sequence.output[:index]]
                    assert token == right_token(known, sequence.sampling.at(index))
                    assert token != EOS or sequence.ignore_eos
                    if isinstance(sequence.mask, AllAllowed):
                        assert sequence.mask.accepted == sequence.output, "told it wrongly"
                case Ended():
                    self.ended.add(number)
                    self.suspects.discard(number)

    def _check_admissions(self, step: Step) -> None:
        """Each newcomer was the one whose principal had the first claim."""
        for part in step.sequences:
            if not part.begin or part.sequence in self.seated | self.suspects:
                continue
            mine = self.accepted[part.sequence].principal
            seats = self.seats()
            for other in self.waiting() - {mine}:
                assert mine or not other, "one without a name went first"
                if bool(mine) == bool(other):
                    assert seats[other] >= seats[mine], "another had fewer seats"
            self.seated.add(part.sequence)

    def _check_waiting(self, step: Step) -> None:
        """While only tokens are drawn, nobody waits for those that have more than their share."""
        if self.suspects or any(part.begin or len(part.tokens) > 1 for part in step.sequences):
            self.waited.clear()
            return
        seats = self.seats()
        for each in ("a", "b"):
            others = max((seats[other] for other in seats if other != each), default=0)
            if each in self.waiting() and not seats[each] and (seats[""] or others > 1):
                self.waited[each] += 1
            else:
                self.waited[each] = 0
            assert self.waited[each] <= PATIENCE, "one has the seats that others wait for"

    def teardown(self) -> None:
        """Left alone, everything ends, and the ranks remember nothing."""
        if self.ranks is None:
            self.start_group()
        for _ in range(600):
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
        assert not self.ranks.tables, "a table was left behind"
