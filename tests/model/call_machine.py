"""Random histories of one end of a link asking a peer that is slow, restarts, and is imitated.

The peer is a few lines of its own: it answers each question with the question's number, so an
answer that reaches another question shows. What is being asked with is a parameter.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from transports.codec import encode_body
from transports.envelope import VERSION, Header, Kind, pack
from transports.link import CallEvent, Completed, Failed, Lost
from transports.schemas.group import StepDone

SLOT = 3
TERMINAL = (Completed, Failed, Lost)
Delivered = list[tuple[int, CallEvent]]
Frames = list[bytes]


class Asker(Protocol):
    """One end of a link, whose owners are numbers."""

    def connect(self, inc: int) -> Delivered:
        """The peer is replaced: its incarnation is now ``inc``."""
        ...

    def ask(self, number: int, deadline: float) -> int | None:
        """Ask question ``number``; return its sequence number, None if the link is down."""
        ...

    def arrive(self, frames: Frames) -> Delivered:
        """A message was read."""
        ...

    def cancel(self, seq: int) -> Delivered:
        """The answer to ``seq`` is no longer wanted."""
        ...

    def expire(self, now: float) -> Delivered:
        """It is ``now``."""
        ...

    def close(self) -> Delivered:
        """The link ends."""
        ...


class NewAsker(Protocol):
    """Makes an asker."""

    def __call__(self) -> Asker: ...


class CallMachine(RuleBasedStateMachine):
    """Ask, answer, lose, repeat, reorder, be late, restart, be imitated, expire, cancel."""

    new_asker: ClassVar[NewAsker]

    @initialize()
    def start(self) -> None:
        self.asker = type(self).new_asker()
        self.now = 0.0
        self.number = 0
        self.inc = 0
        self.events: dict[int, list[CallEvent]] = {}
        self.asked: list[tuple[int, int]] = []
        self.flight: list[Frames] = []
        self._restart()

    def _restart(self) -> None:
        self.inc += 1
        self.sent = 2
        self.inbox: deque[tuple[int, int]] = deque()
        self.answered: list[tuple[int, int]] = []
        self._take(self.asker.connect(self.inc))

    def _take(self, delivered: Delivered) -> None:
        for number, event in delivered:
            self.events[number].append(event)

    def _message(self, kind: Kind, number: int, **fields: int) -> Frames:
        header = Header(VERSION, kind, 0, SLOT, self.inc, self.sent, 0, 0, 0)._asdict() | fields
        return [pack(*tuple(header.values())), encode_body(StepDone(number, rank=0))]

    # -- the asking end --------------------------------------------------------------------------

    @rule(patience=st.sampled_from([1.0, 5.0]))
    def ask(self, patience: float) -> None:
        number = self.number
        seq = self.asker.ask(number, self.now + patience)
        if seq is None:
            return
        self.number += 1
        self.events[number] = []
        self.asked.append((seq, number))
        self.inbox.append((seq, number))

    @precondition(lambda self: bool(self.asked))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        seq, _ = data.draw(st.sampled_from(self.asked))
        self._take(self.asker.cancel(seq))

    @rule()
    def time_passes(self) -> None:
        self.now += 1.0
        self._take(self.asker.expire(self.now))

    # -- the peer --------------------------------------------------------------------------------

    @precondition(lambda self: bool(self.inbox))
    @rule()
    def answer(self) -> None:
        self.answered.append(self.inbox.popleft())
        self._answer(*self.answered[-1])

    @precondition(lambda self: bool(self.answered))
    @rule(data=st.data())
    def answer_again(self, data: st.DataObject) -> None:
        self._answer(*data.draw(st.sampled_from(self.answered)))

    def _answer(self, seq: int, number: int) -> None:
        self.sent += 1
        self.flight.append(self._message(Kind.RESULT, number, corr=seq))

    @precondition(lambda self: bool(self.inbox))
    @rule()
    def forget(self) -> None:
        self.inbox.popleft()

    @rule()
    def restart(self) -> None:
        self._restart()

    # -- the network -----------------------------------------------------------------------------

    @precondition(lambda self: bool(self.flight))
    @rule()
    def deliver(self) -> None:
        self._take(self.asker.arrive(self.flight.pop(0)))

    @precondition(lambda self: bool(self.flight))
    @rule(data=st.data(), keep=st.booleans())
    def deliver_another(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.flight) - 1))
        frames = self.flight[index] if keep else self.flight.pop(index)
        self._take(self.asker.arrive(frames))

    @precondition(lambda self: bool(self.flight))
    @rule()
    def lose(self) -> None:
        self.flight.pop(0)

    @rule(frames=st.lists(st.binary(max_size=60), max_size=3))
    def garbage(self, frames: Frames) -> None:
        self._take(self.asker.arrive(frames))

    @rule(corr=st.integers(0, 12), stranger=st.booleans())
    def imitate(self, corr: int, stranger: bool) -> None:
        """Somebody else, or an older incarnation, answers a question that may be open."""
        fields = {"src": SLOT + 1} if stranger else {"inc": self.inc - 1}
        frames = self._message(Kind.RESULT, -1, corr=corr, **{"seq": 1000, **fields})
        self._take(self.asker.arrive(frames))
        if stranger:
            self._restart()

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def answers_are_to_the_question(self) -> None:
        for number, events in self.events.items():
            for event in events:
                if isinstance(event, Completed):
                    assert event.body == StepDone(number, rank=0), "answer to another question"

    @invariant()
    def at_most_one_end(self) -> None:
        for number, events in self.events.items():
            ends = [event for event in events if isinstance(event, TERMINAL)]
            assert len(ends) <= 1, f"call {number} ended {len(ends)} times"
            assert not ends or events[-1] is ends[0], "something came after the end"

    def teardown(self) -> None:
        if not hasattr(self, "asker"):
            return
        self._restart()
        self.ask(patience=5.0)
        self.answer()
        self._take(self.asker.arrive(self.flight.pop()))
        assert self.events[self.number - 1] == [Completed(StepDone(self.number - 1, rank=0))]
        self._take(self.asker.close())
        self.at_most_one_end()
        self.answers_are_to_the_question()
        for number, events in self.events.items():
            assert events, f"call {number} never ended"
