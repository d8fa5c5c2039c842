"""A queue of long prompts among random events, held against lists."""

from __future__ import annotations

from collections import Counter

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
        principal=st.sampled_from(("a", "a", "a", "b", "c", "")),
        patience=st.sampled_from((None, None, None, 1, 4, 9)),
    )
    def add(self, characters: int, principal: str, patience: int | None) -> None:
        self.minted += 1
        deadline = None if patience is None else self.now + patience
        self.make_way(characters, principal)
        refusal = self.queue.add(self.minted, characters, principal, deadline)
        assert (refusal is None) == self.has_room(characters)
        if refusal is None:
            self.living[self.minted] = (characters, principal, deadline)
        else:
            assert refusal.code == FailureCode.OVERLOADED
            assert refusal.retry_after_s

    def make_way(self, characters: int, principal: str) -> None:
        """Whoever gives way has no name, or holds more, and waits; and it is of use."""
        needed = not self.has_room(characters)
        before = dict(self.living)
        for number in (gone := self.queue.make_way(characters, principal)):
            assert number in self.may_give_way(principal), "one gave way that had not to"
            del self.living[number]
        assert not gone or (needed and self.has_room(characters)), "one gave way for nothing"
        while needed and not gone and (others := self.may_give_way(principal)):
            del self.living[others[0]]
            assert not self.has_room(characters), "none gave way"
        if not gone:
            self.living = before

    def may_give_way(self, principal: str) -> list[int]:
        """Return who would be next to give way: the youngest of those that hold most."""
        if not principal:
            return []
        held = Counter(name for _, name, _ in self.living.values())
        youngest = {self.living[number][1]: number for number in sorted(self.waiting())}
        if "" in youngest:
            return [youngest[""]]
        most = max((held[name] for name in youngest), default=0)
        names = [name for name in youngest if held[name] == most > held[principal] + 1]
        return [youngest[name] for name in names]

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
        assert principal or not others, "one without a name goes first"
        others.discard("")
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

    def has_room(self, characters: int) -> bool:
        """Whether a prompt fits beside what takes room."""
        held = self.held()
        light = not held or sum(held) + characters <= MAX_CHARACTERS
        return light and len(held) < MAX_COUNT

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
