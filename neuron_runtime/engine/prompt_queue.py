"""Which long prompt is made next, while one at a time is being made. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- what ``add`` accepted ends once: it is ``made``, or it is ended before, or its deadline passes;
- one is in work at a time, and what was ended in work keeps its place until it is over, because its
  text is still held and the processor is still at it;
- their number and the characters that they have together are bounded; a single one always fits;
- the principals take turns, and each principal's own keep their order;
- when there is no room, whoever holds most of it makes way for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from neuron_runtime.engine.longest_line_drop import give_way
from neuron_runtime.engine.turns import Turns
from transports.failures import FailureCode
from transports.schemas.link import Failure

MAX_CHARACTERS = 1 << 26
"""Over all that wait; no body of a request is longer than half of it."""

_CHARACTERS_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class _Prompt:
    characters: int
    principal: str
    deadline: float | None


class PromptQueueCorrupt(AssertionError):
    """The queue's state contradicts itself; says how."""


@final
class PromptQueue:
    """The long prompts that are not made yet, by numbers that the caller gives. One thread.

    Times are monotonic seconds.
    """

    def __init__(self, max_count: int, max_characters: int = MAX_CHARACTERS) -> None:
        self.max_count = max_count
        self.max_characters = max_characters
        self._alive: dict[int, _Prompt] = {}
        self._turns: Turns[int] = Turns()
        self._in_work: tuple[int, _Prompt] | None = None
        self._characters = 0

    @property
    def waiting(self) -> int:
        """How many have not ended, with the one in work."""
        return len(self._alive)

    def make_way(self, characters: int, principal: str) -> list[int]:
        """End those that must give up their places for one of ``principal``; return them."""
        if self._has_room(self._held(), self._characters, characters):
            return []
        begun = self._in_work[0] if self._in_work is not None else None
        alive = self._alive.items()
        places = ((prompt.principal, None if n == begun else n) for n, prompt in alive)
        gone: list[int] = []
        held = self._characters
        for number in give_way(principal, 1, places):
            gone.append(number)
            held -= self._alive[number].characters
            if self._has_room(self._held() - len(gone), held, characters):
                return [number for number in gone if self.end(number)]
        return []

    def add(
        self, number: int, characters: int, principal: str = "", deadline: float | None = None
    ) -> Failure | None:
        """Accept one, or say why not."""
        if not self._has_room(self._held(), self._characters, characters):
            return self.overloaded("try again later")
        self._alive[number] = _Prompt(characters, principal, deadline)
        self._turns.push(principal, number)
        self._characters += characters
        return None

    def next(self) -> int | None:
        """Take the next one into work; None if one is, or none waits."""
        number = self._turns.head() if self._in_work is None else None
        if number is not None:
            self._in_work = number, self._alive[number]
            self._turns.take(self._alive[number].principal, number)
        return number

    def made(self) -> bool:
        """Learn that the one in work is over; return whether it is still wanted."""
        if self._in_work is None:
            raise PromptQueueCorrupt("nothing was in work")
        (number, prompt), self._in_work = self._in_work, None
        self._characters -= prompt.characters
        return self._alive.pop(number, None) is not None

    def end(self, number: int) -> bool:
        """Want one no more; return whether it had not ended."""
        prompt = self._alive.pop(number, None)
        if prompt is None:
            return False
        if self._in_work is not None and self._in_work[0] == number:
            return True
        self._turns.remove(prompt.principal, number)
        self._characters -= prompt.characters
        return True

    def end_all(self) -> list[int]:
        """Want none any more; return those that had not ended, in the order of arrival."""
        return [number for number in list(self._alive) if self.end(number)]

    def expire(self, now: float) -> list[int]:
        """End those whose deadline has passed; return them."""
        late = [
            number
            for number, prompt in self._alive.items()
            if prompt.deadline is not None and prompt.deadline <= now
        ]
        return [number for number in late if self.end(number)]

    def next_deadline(self) -> float | None:
        """Return when ``expire`` has something to do."""
        deadlines = (prompt.deadline for prompt in self._alive.values())
        return min((each for each in deadlines if each is not None), default=None)

    def check_integrity(self) -> None:
        """Verify what must always hold.

        Raises:
            PromptQueueCorrupt: It does not.
        """
        lined = list(self._turns)
        held = {number: self._alive.get(number) for number in lined}
        if self._in_work is not None:
            held[self._in_work[0]] = self._in_work[1]
        characters = sum(each.characters for each in held.values() if each is not None)
        faults = {
            "one is in two places or none": len(lined) != len(set(lined))
            or not set(self._alive) <= set(held)
            or None in held.values(),
            "characters are miscounted": characters != self._characters,
            "too many": len(held) > self.max_count,
            "too much": len(held) > 1 and characters > self.max_characters,
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise PromptQueueCorrupt("; ".join(wrong))

    def overloaded(self, advice: str) -> Failure:
        """Say why there is no room."""
        return Failure(
            FailureCode.OVERLOADED,
            f"the model has {self._held()} long prompts waiting to be tokenized, which is its"
            f" limit; {advice}",
            retry_after_s=min(30.0, max(1.0, self._characters / _CHARACTERS_PER_S)),
        )

    def _has_room(self, count: int, held: int, characters: int) -> bool:
        """Whether one more fits beside ``count`` that have ``held`` characters."""
        return count < self.max_count and (not held or held + characters <= self.max_characters)

    def _held(self) -> int:
        ended = self._in_work is not None and self._in_work[0] not in self._alive
        return len(self._alive) + ended
