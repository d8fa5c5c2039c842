"""A queue of long prompts among random events, held against lists."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neuron_runtime.engine.prompt_queue import PromptQueue
from transports.failures import FailureCode

MAX_COUNT, MAX_CHARACTERS = 4, 20
SIZES = (1, 1, 2, 2, 3, 9, 12, MAX_CHARACTERS + 5)
"""Small ones more often, so that now their number is the limit and now what they have together."""


class PromptMachine(RuleBasedStateMachine):
    """Every accepted prompt ends once; one is in work; nothing is held for ever."""

    queue_type: type[PromptQueue] = PromptQueue

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.queue_type(MAX_COUNT, MAX_CHARACTERS)
        self.now = 0.0
        self.minted = 0
        self.living: dict[int, tuple[int, str, float | None]] = {}
        self.in_work: tuple[int, int] | None = None
        self.passed_over: dict[str, int] = {}

    # -- events ---------------------------------------------------------------------------------

    @rule(
        characters=st.sampled_from(SIZES),
        principal=st.sampled_from("abc"),
        patience=st.sampled_from((None, None, None, 1, 4, 9)),
    )
    def add(self, characters: int, principal: str, patience: int | None) -> None:
        self.minted += 1
        deadline = None if patience is None else self.now + patience
        held = self.held()
        full = len(held) >= MAX_COUNT
        heavy = bool(held) and sum(held) + characters > MAX_CHARACTERS
        refusal = self.queue.add(self.minted, characters, principal, deadline)
        assert (refusal is not None) == (full or heavy)
        if refusal is None:
            self.living[self.minted] = (characters, principal, deadline)
        else:
            assert refusal.code == FailureCode.OVERLOADED
            assert refusal.retry_after_s

    @rule()
    def next(self) -> None:
        number = self.queue.next()
        waiting = self.waiting()
        if self.in_work is not None or not waiting:
            assert number is None
            return
        assert number in waiting, "an ended prompt is made, or none"
        characters, principal, _ = self.living[number]
        own = [each for each in waiting if self.living[each][1] == principal]
        assert number == min(own), "a principal's own prompts change places"
        self.in_work = number, characters
        others = {self.living[each][1] for each in waiting} - {principal}
        self.passed_over = {each: self.passed_over.get(each, 0) + 1 for each in others}
        assert max(self.passed_over.values(), default=0) <= 2, "a principal is passed over"

    @precondition(lambda self: self.in_work is not None)
    @rule()
    def finish(self) -> None:
        assert self.in_work is not None
        number, _ = self.in_work
        self.in_work = None
        assert self.queue.made() == (number in self.living)
        self.living.pop(number, None)

    @precondition(lambda self: self.minted)
    @rule(data=st.data(), everything=st.sampled_from((False, False, True)))
    def end(self, data: st.DataObject, everything: bool) -> None:
        if everything:
            assert self.queue.end_all() == sorted(self.living)
            self.living.clear()
            return
        number = data.draw(st.integers(1, self.minted))
        assert self.queue.end(number) == (number in self.living)
        self.living.pop(number, None)

    @precondition(lambda self: self.in_work is not None)
    @rule()
    def end_in_work(self) -> None:
        assert self.in_work is not None
        number, _ = self.in_work
        assert self.queue.end(number) == (number in self.living)
        self.living.pop(number, None)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        late = [
            number
            for number, (_, _, deadline) in self.living.items()
            if deadline is not None and deadline <= self.now
        ]
        assert sorted(self.queue.expire(self.now)) == late, "a deadline was not kept"
        for number in late:
            del self.living[number]

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def integrity(self) -> None:
        self.queue.check_integrity()
        assert self.queue.waiting == len(self.living)
        deadlines = [deadline for _, _, deadline in self.living.values() if deadline is not None]
        assert self.queue.next_deadline() == min(deadlines, default=None)

    def waiting(self) -> list[int]:
        """Return those that are not in work."""
        begun = self.in_work[0] if self.in_work is not None else None
        return [number for number in self.living if number != begun]

    def held(self) -> list[int]:
        """Return the characters of each that takes room."""
        sizes = [self.living[number][0] for number in self.waiting()]
        return [*sizes, self.in_work[1]] if self.in_work is not None else sizes

    def teardown(self) -> None:
        """Left alone, everything ends, and there is room again."""
        for _ in range(2 * MAX_COUNT + 1):
            if self.in_work is not None:
                self.finish()
            self.next()
        assert not self.living, "never made"
        assert self.queue.add(self.minted + 1, 10 * MAX_CHARACTERS) is None
