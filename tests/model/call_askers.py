"""What is asked with: the real session, and ones with a known mistake."""

from __future__ import annotations

from collections import deque

from tests.model.call_machine import SLOT, Delivered, Frames, NewAsker
from transports.calls import Deliver
from transports.codec import decode_body, decode_header, encode_body
from transports.effects import Effects
from transports.envelope import VERSION, Header, Kind, pack
from transports.errors import LinkDown, ProtocolError
from transports.fence import Expectation, judge
from transports.link import CallEvent, Completed, Identity, Lost
from transports.liveness import LOCAL
from transports.schemas import Body
from transports.schemas.group import ClearCache
from transports.session import Session

QUESTION = encode_body(ClearCache())
ME = Identity(1, 0, 0, 1, "engine", "engine")


class Fenced:
    """The real one: a listening end's session per incarnation of the peer."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._now = 0.0
        self._delivered: Delivered = []

    def connect(self, inc: int) -> Delivered:
        ended = self.close()
        peer = Identity(1, SLOT, inc, 1, "worker", "rank0")
        self._session = Session(ME, LOCAL, self._now, peer)
        self._session.welcome(1)
        ready = Header(VERSION, Kind.READY, 0, SLOT, inc, 2, 0, 0, 0)
        self._session.received([pack(*ready), b""], self._now)
        return ended

    def ask(self, number: int, deadline: float) -> int | None:
        assert self._session is not None

        def on_event(event: CallEvent) -> None:
            self._delivered.append((number, event))

        try:
            seq, _ = self._session.request(
                on_event, QUESTION, (), deadline, deadline - self._now, 0
            )
        except LinkDown:
            return None
        return seq

    def arrive(self, frames: Frames) -> Delivered:
        assert self._session is not None
        return self._take(self._session.received(frames, self._now))

    def cancel(self, seq: int) -> Delivered:
        assert self._session is not None
        return self._take(self._session.cancel(seq, "test"))

    def expire(self, now: float) -> Delivered:
        assert self._session is not None
        self._now = now
        return self._take(self._session.expire(now))

    def close(self) -> Delivered:
        return self._take(self._session.lost("closed")) if self._session is not None else []

    def _take(self, effects: Effects) -> Delivered:
        for effect in effects:
            if isinstance(effect, Deliver):
                effect.owner(effect.event)
        delivered, self._delivered = self._delivered, []
        return delivered


class Simple:
    """What one writes first: a dictionary by sequence number. Right, if ``_mine`` is."""

    def __init__(self) -> None:
        self.inc = 0
        self.seq = 0
        self.open: dict[int, tuple[int, float]] = {}

    def connect(self, inc: int) -> Delivered:
        ended = self.close()
        self.inc = inc
        self.seq = 0
        return ended

    def ask(self, number: int, deadline: float) -> int | None:
        self.seq += 1
        self.open[self.seq] = (number, deadline)
        return self.seq

    def arrive(self, frames: Frames) -> Delivered:
        try:
            header = decode_header(frames)
            body = decode_body(header.kind, frames[1])
        except ProtocolError:
            return []
        if header.kind is not Kind.RESULT or body is None or not self._mine(header):
            return []
        return self._resolve(header, body)

    def cancel(self, seq: int) -> Delivered:
        return []

    def expire(self, now: float) -> Delivered:
        late = [seq for seq, (_, deadline) in self.open.items() if deadline <= now]
        return [(self.open.pop(seq)[0], Lost("deadline")) for seq in late]

    def close(self) -> Delivered:
        ended: Delivered = [(number, Lost("link_down")) for number, _ in self.open.values()]
        self.open.clear()
        return ended

    def _mine(self, header: Header) -> bool:
        expectation = Expectation(SLOT, self.inc, awaiting=self.open, answered=(), sent=self.seq)
        return judge(header, expectation) is None

    def _resolve(self, header: Header, body: Body) -> Delivered:
        number, _ = self.open.pop(header.corr)
        return [(number, Completed(body))]


class Untagged(Simple):
    """Takes whatever comes for the answer to the oldest open question."""

    def _mine(self, header: Header) -> bool:
        return bool(self.open)

    def _resolve(self, header: Header, body: Body) -> Delivered:
        number, _ = self.open.pop(min(self.open))
        return [(number, Completed(body))]


class CountOnly(Simple):
    """Takes the n-th answer for the answer to the n-th question of this connection."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: deque[int] = deque()

    def connect(self, inc: int) -> Delivered:
        self.answers.clear()
        return super().connect(inc)

    def ask(self, number: int, deadline: float) -> int | None:
        seq = super().ask(number, deadline)
        assert seq is not None
        self.answers.append(seq)
        return seq

    def _mine(self, header: Header) -> bool:
        return header.src == SLOT and header.inc == self.inc and bool(self.answers)

    def _resolve(self, header: Header, body: Body) -> Delivered:
        call = self.open.pop(self.answers.popleft(), None)
        return [] if call is None else [(call[0], Completed(body))]


class NoIncarnation(Simple):
    """Checks the correlation, but not which incarnation of the peer says it."""

    def _mine(self, header: Header) -> bool:
        return super()._mine(header._replace(inc=self.inc))


class NoSource(Simple):
    """Checks the correlation, but not who says it."""

    def _mine(self, header: Header) -> bool:
        return super()._mine(header._replace(src=SLOT))


class RaisesOnUnknown(Simple):
    """Takes an answer that it does not expect for an error of its own."""

    def _mine(self, header: Header) -> bool:
        return header.src == SLOT and header.inc == self.inc


class ForgetsOnRestart(Simple):
    """Leaves the callers of a lost connection waiting."""

    def connect(self, inc: int) -> Delivered:
        self.close()
        return super().connect(inc)


class AnswersTwice(Simple):
    """Leaves an answered question open, so that a repeated answer counts again."""

    def _resolve(self, header: Header, body: Body) -> Delivered:
        return [(self.open[header.corr][0], Completed(body))]


RIGHT: tuple[NewAsker, ...] = (Fenced, Simple)
MUTANTS: tuple[NewAsker, ...] = (
    Untagged,
    CountOnly,
    NoIncarnation,
    NoSource,
    RaisesOnUnknown,
    ForgetsOnRestart,
    AnswersTwice,
)
