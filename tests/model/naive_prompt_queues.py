"""Queues of long prompts with one mistake each."""

from __future__ import annotations

from neuron_runtime.engine.prompt_queue import PromptQueue
from transports.schemas.link import Failure


class MakesWhatHasEnded(PromptQueue):  # type: ignore[misc]
    """A cancelled prompt keeps its turn."""

    def end(self, number: int) -> bool:
        return self._alive.pop(number, None) is not None


class MakesTwoAtATime(PromptQueue):  # type: ignore[misc]
    """Does not look whether one is in work."""

    def next(self) -> int | None:
        before, self._in_work = self._in_work, None
        number = super().next()
        if number is None:
            self._in_work = before
        return number


class AnswersForTheDead(PromptQueue):  # type: ignore[misc]
    """What was cancelled in work is ready all the same."""

    def made(self) -> bool:
        super().made()
        return True


class ForgetsWhatIsInWork(PromptQueue):  # type: ignore[misc]
    """A cancelled prompt in work takes no room any more, though it is still being made."""

    def end(self, number: int) -> bool:
        in_work = self._in_work
        ended = super().end(number)
        if ended and in_work is not None and in_work[0] == number:
            self._characters -= in_work[1].characters
        return ended


class CountsOnlyTheLiving(PromptQueue):  # type: ignore[misc]
    """One that is in work after its end does not count."""

    def _held(self) -> int:
        return len(self._alive)


class LeaksCharacters(PromptQueue):  # type: ignore[misc]
    """What was made is still held."""

    def made(self) -> bool:
        assert self._in_work is not None
        characters = self._in_work[1].characters
        made = super().made()
        self._characters += characters
        return made


class RefusesTheLargest(PromptQueue):  # type: ignore[misc]
    """A prompt larger than the bound never has room."""

    def add(
        self, number: int, characters: int, principal: str = "", deadline: float | None = None
    ) -> Failure | None:
        if characters > self.max_characters:
            return Failure("overloaded", "too large", retry_after_s=1.0)
        return super().add(number, characters, principal, deadline)


class TakesAllCharacters(PromptQueue):  # type: ignore[misc]
    """Counts prompts, but not what is in them."""

    def __init__(self, max_count: int, _: int) -> None:
        super().__init__(max_count, 1 << 60)


class ServesOnePrincipal(PromptQueue):  # type: ignore[misc]
    """Whoever has begun goes first as long as more of its prompts come."""

    def next(self) -> int | None:
        number = super().next()
        if number is not None:
            principal = self._alive[number].principal
            lines = self._turns._lines
            line = lines.pop(principal, None)
            if line is not None:
                self._turns._lines = {principal: line, **lines}
        return number


class ServesTheYoungest(PromptQueue):  # type: ignore[misc]
    """The last one to come is made first."""

    def next(self) -> int | None:
        for line in self._turns._lines.values():
            line.rotate(1)
        return super().next()


class ForgetsDeadlines(PromptQueue):  # type: ignore[misc]
    """Only those that wait expire; what is in work does not."""

    def expire(self, now: float) -> list[int]:
        in_work = self._in_work[0] if self._in_work is not None else None
        late = [
            number
            for number, prompt in self._alive.items()
            if number != in_work and prompt.deadline is not None and prompt.deadline <= now
        ]
        return [number for number in late if self.end(number)]


class LetsOneFillTheQueue(PromptQueue):  # type: ignore[misc]
    """Whoever comes first keeps all places."""

    def make_way(self, characters: int, principal: str) -> list[int]:
        del characters, principal
        return []


class DropsWhatIsInWork(PromptQueue):  # type: ignore[misc]
    """What is nearly made gives way too."""

    def make_way(self, characters: int, principal: str) -> list[int]:
        in_work, self._in_work = self._in_work, None
        gone = [] if in_work is None else super().make_way(characters, principal)
        self._in_work = in_work
        return gone


class DropsForNothing(PromptQueue):  # type: ignore[misc]
    """One gives way, whether or not that is enough."""

    def make_way(self, characters: int, principal: str) -> list[int]:
        return super().make_way(0, principal)


class LetsTheNamelessIn(PromptQueue):  # type: ignore[misc]
    """Those without a name are a principal like any other."""

    def make_way(self, characters: int, principal: str) -> list[int]:
        return super().make_way(characters, principal or "nobody")


NAIVE: list[type[PromptQueue]] = [
    MakesWhatHasEnded,
    MakesTwoAtATime,
    AnswersForTheDead,
    ForgetsWhatIsInWork,
    CountsOnlyTheLiving,
    LeaksCharacters,
    RefusesTheLargest,
    TakesAllCharacters,
    ServesOnePrincipal,
    ServesTheYoungest,
    ForgetsDeadlines,
    LetsOneFillTheQueue,
    DropsWhatIsInWork,
    DropsForNothing,
    LetsTheNamelessIn,
]
