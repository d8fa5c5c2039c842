"""The questions in flight on one link (pure).

Every call that was opened gets exactly one terminal event (Completed, Failed or Lost), and chunk
indexes that its owner sees are contiguous from 0. ``owner`` is whatever the caller wants back.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar, final

import msgspec

from transports.fence import DropReason
from transports.link import CallEvent, Chunk, Completed, Lost
from transports.schemas.generate import ChunkItem, GenerateDone

Owner = TypeVar("Owner")

#: How many answered calls are remembered, to tell a duplicate from a stale answer.
_MEMORY = 512
_NEVER = math.inf


class Deliver(msgspec.Struct, Generic[Owner], frozen=True):
    """Give the call's owner an event."""

    owner: Owner
    event: CallEvent


class Revoke(msgspec.Struct, frozen=True):
    """Tell the peer that the answer to ``seq`` is no longer wanted."""

    seq: int
    reason: str


class Discard(msgspec.Struct, frozen=True):
    """Count a dropped answer."""

    reason: DropReason


class _Open(msgspec.Struct, Generic[Owner]):
    owner: Owner
    next_index: int = 0
    cancelled: bool = False


@final
class CallTable(Generic[Owner]):
    """Open calls by sequence number. Answers have passed ``fence.judge`` before they get here."""

    __slots__ = ("_answered", "_deadlines", "_open")

    def __init__(self) -> None:
        self._open: dict[int, _Open[Owner]] = {}
        self._answered: OrderedDict[int, None] = OrderedDict()
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def awaiting(self) -> dict[int, _Open[Owner]]:
        """The open calls, as the fence wants to see them (a live view)."""
        return self._open

    @property
    def answered(self) -> OrderedDict[int, None]:
        """The calls answered not long ago (a live view)."""
        return self._answered

    def open(self, seq: int, owner: Owner, deadline: float = _NEVER) -> None:
        """Await the answer to ``seq`` until ``deadline`` (monotonic seconds)."""
        self._open[seq] = _Open(owner)
        if deadline == _NEVER:
            return
        if len(self._deadlines) > 2 * len(self._open) + 64:
            # PERF: answered calls leave their deadlines behind; forget those now and then.
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._open]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (deadline, seq))

    def next_deadline(self) -> float:
        """Return when ``expire`` has something to do at the earliest; may be too early."""
        return self._deadlines[0][0] if self._deadlines else _NEVER

    def settle(self, corr: int, event: CallEvent) -> tuple[Deliver[Owner] | Discard, ...]:
        """End a call with the peer's terminal event; a text of which pieces are missing is lost."""
        call = self._open.pop(corr, None)
        if call is None:
            return (Discard(DropReason.STALE_CORR),)
        self._answered[corr] = None
        if len(self._answered) > _MEMORY:
            self._answered.popitem(last=False)
        match event:
            case Completed(GenerateDone() as done, raw):
                return _end_of_text(call, done, raw)
            case _:
                return (Deliver(call.owner, event),)

    def interim(self, corr: int, event: CallEvent) -> tuple[Deliver[Owner] | Discard, ...]:
        """Pass an event on that ends nothing."""
        call = self._open.get(corr)
        if call is None:
            return (Discard(DropReason.STALE_CORR),)
        return (Deliver(call.owner, event),)

    def chunks(
        self, corr: int, items: Sequence[ChunkItem]
    ) -> Sequence[Deliver[Owner] | Revoke | Discard]:
        """Take a stream's next pieces; a repeated one is dropped, a missing one ends the call."""
        call = self._open.get(corr)
        if call is None:
            return [Discard(DropReason.STALE_CORR)] * len(items)
        effects: list[Deliver[Owner] | Revoke | Discard] = []
        for item in items:
            if item.index > call.next_index:
                del self._open[corr]
                detail = f"chunk {item.index} came where {call.next_index} was due"
                effects += [Revoke(corr, "protocol"), Deliver(call.owner, Lost("protocol", detail))]
                break
            if item.index < call.next_index:
                effects.append(Discard(DropReason.DUPLICATE))
                continue
            call.next_index += 1
            effects.append(Deliver(call.owner, Chunk(item.index, item.payload)))
        return effects

    def cancel(self, seq: int, reason: str) -> tuple[Revoke, ...]:
        """Ask the peer to stop; the call stays open until its terminal event or its deadline."""
        call = self._open.get(seq)
        if call is None or call.cancelled:
            return ()
        call.cancelled = True
        return (Revoke(seq, reason),)

    def expire(self, now: float) -> Sequence[Deliver[Owner] | Revoke]:
        """End the calls whose deadline has passed."""
        effects: list[Deliver[Owner] | Revoke] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, seq = heapq.heappop(self._deadlines)
            call = self._open.pop(seq, None)
            if call is not None:
                effects.append(Revoke(seq, "deadline"))
                effects.append(Deliver(call.owner, Lost("deadline")))
        return effects

    def fail_all(self, reason: str, detail: str) -> tuple[Deliver[Owner], ...]:
        """End every call: no answer will be accepted any more."""
        owners = [call.owner for call in self._open.values()]
        self._open.clear()
        self._deadlines.clear()
        return tuple(Deliver(owner, Lost(reason, detail)) for owner in owners)


def _end_of_text(
    call: _Open[Owner], done: GenerateDone, raw: tuple[bytes, ...]
) -> tuple[Deliver[Owner], ...]:
    owner, first, last = call.owner, call.next_index, done.last
    came = first + len(last)
    if done.pieces is not None and done.pieces != came:
        detail = f"a text ended after {came} of {done.pieces} pieces"
        return (Deliver(owner, Lost("protocol", detail)),)
    if last:
        done = msgspec.structs.replace(done, last=())
    chunks = (Deliver(owner, Chunk(index, delta)) for index, delta in enumerate(last, first))
    return (*chunks, Deliver(owner, Completed(done, raw)))
