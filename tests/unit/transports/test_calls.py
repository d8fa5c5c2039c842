from __future__ import annotations

import msgspec
import pytest

from transports.calls import CallTable, Deliver, Discard, Revoke
from transports.fence import DropReason
from transports.link import Chunk, Completed, Lost, Progress
from transports.schemas.generate import ChunkItem, GenerateDone, TextDelta
from transports.schemas.group import ClearCache

DONE = Completed(ClearCache())
STALE = (Discard(DropReason.STALE_CORR),)


def piece(index: int) -> TextDelta:
    return TextDelta(str(index), index, (index,))


def test_answer_ends_the_call() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    assert calls.settle(1, DONE) == (Deliver("a", DONE),)
    assert calls.settle(1, DONE) == STALE
    assert len(calls) == 0
    assert 1 in calls.answered
    assert 1 not in calls.awaiting


def items(*indexes: int) -> list[ChunkItem]:
    return [ChunkItem(1, index, piece(index)) for index in indexes]


def test_pieces_must_follow_one_another() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    assert calls.chunks(1, items(0)) == [Deliver("a", Chunk(0, piece(0)))]
    assert calls.chunks(1, items(0)) == [Discard(DropReason.DUPLICATE)]
    assert calls.chunks(1, items(1)) == [Deliver("a", Chunk(1, piece(1)))]
    lost = Lost("protocol", "chunk 3 came where 2 was due")
    assert calls.chunks(1, items(3)) == [Revoke(1, "protocol"), Deliver("a", lost)]
    assert calls.chunks(1, items(2, 3)) == [*STALE, *STALE]


def test_pieces_that_came_together_count_up_to_what_is_missing() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    lost = Lost("protocol", "chunk 5 came where 3 was due")
    assert calls.chunks(1, items(0, 1, 1, 2, 5, 6)) == [
        Deliver("a", Chunk(0, piece(0))),
        Deliver("a", Chunk(1, piece(1))),
        Discard(DropReason.DUPLICATE),
        Deliver("a", Chunk(2, piece(2))),
        Revoke(1, "protocol"),
        Deliver("a", lost),
    ]


def test_a_text_without_its_last_pieces_is_lost_and_not_complete() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    calls.chunks(1, items(0))
    done = Completed(GenerateDone("stop", 1, 2, pieces=2))
    lost = Lost("protocol", "a text ended after 1 of 2 pieces")
    assert calls.settle(1, done) == (Deliver("a", lost),)
    assert calls.settle(1, done) == STALE


def test_the_end_of_a_text_may_bring_its_last_pieces() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    calls.chunks(1, items(0))
    end = GenerateDone("stop", 1, 3, pieces=3)
    done = Completed(msgspec.structs.replace(end, last=(piece(1), piece(2))))
    assert calls.settle(1, done) == (
        Deliver("a", Chunk(1, piece(1))),
        Deliver("a", Chunk(2, piece(2))),
        Deliver("a", Completed(end)),
    )
    assert calls.settle(1, done) == STALE


def test_of_a_text_with_a_gap_before_its_last_pieces_none_of_them_is_given() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    done = Completed(GenerateDone("stop", 1, 3, pieces=3, last=(piece(1), piece(2))))
    lost = Lost("protocol", "a text ended after 2 of 3 pieces")
    assert calls.settle(1, done) == (Deliver("a", lost),)


@pytest.mark.parametrize("pieces", [1, None])
def test_a_text_ends_well_with_all_its_pieces_or_if_nobody_counted(pieces: int | None) -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    calls.chunks(1, items(0))
    done = Completed(GenerateDone("stop", 1, 2, pieces=pieces))
    assert calls.settle(1, done) == (Deliver("a", done),)


def test_progress_ends_nothing() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    event = Progress(ClearCache())
    assert calls.interim(1, event) == (Deliver("a", event),)
    assert calls.interim(2, event) == STALE
    assert len(calls) == 1


def test_peer_is_told_once_of_a_cancellation() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a")
    assert calls.cancel(1, "why") == (Revoke(1, "why"),)
    assert calls.cancel(1, "why") == ()
    assert calls.cancel(2, "why") == ()
    assert calls.settle(1, DONE) == (Deliver("a", DONE),)


def test_calls_expire_in_order_of_their_deadlines() -> None:
    calls: CallTable[str] = CallTable()
    for seq, deadline in ((1, 9.0), (2, 3.0), (3, 5.0)):
        calls.open(seq, f"call {seq}", deadline)
    calls.settle(2, DONE)
    assert calls.next_deadline() == 3.0
    assert calls.expire(4.0) == []
    assert calls.next_deadline() == 5.0
    lost = Lost("deadline")
    assert calls.expire(9.0) == [
        Revoke(3, "deadline"),
        Deliver("call 3", lost),
        Revoke(1, "deadline"),
        Deliver("call 1", lost),
    ]
    assert calls.next_deadline() == float("inf")


def test_everything_open_is_lost_with_the_link() -> None:
    calls: CallTable[str] = CallTable()
    calls.open(1, "a", 5.0)
    calls.open(2, "b")
    calls.settle(1, DONE)
    assert calls.fail_all("link_down", "silent") == (Deliver("b", Lost("link_down", "silent")),)
    assert calls.fail_all("link_down", "silent") == ()
    assert calls.next_deadline() == float("inf")


def test_memory_of_answered_calls_is_bounded() -> None:
    calls: CallTable[str] = CallTable()
    for seq in range(1, 5001):
        calls.open(seq, "a", 1e9 + seq)
        calls.settle(seq, DONE)
    assert len(calls.answered) == 512
    assert len(calls._deadlines) <= 70
