from __future__ import annotations

import pytest

from transports.envelope import VERSION, Header, Kind
from transports.fence import (
    DropCounters,
    DropReason,
    Expectation,
    judge,
    judge_corr,
    judge_hello,
)
from transports.identity import Route
from transports.schemas.link import Hello


def expectation(*, closed: bool = False, src: int | None = 3) -> Expectation:
    return Expectation(src=src, inc=7, awaiting={5, 8}, answered={4}, sent=9, closed=closed)


def header(kind: Kind = Kind.RESULT, *, src: int = 3, inc: int = 7, corr: int = 5) -> Header:
    return Header(VERSION, kind, 0, src, inc, 1, corr, 0, 0)


@pytest.mark.parametrize("kind", [Kind.RESULT, Kind.ERROR, Kind.CHUNK])
def test_answer_to_an_open_question_is_accepted(kind: Kind) -> None:
    assert judge(header(kind), expectation()) is None


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (header(src=4), DropReason.UNKNOWN_SOURCE),
        (header(inc=6), DropReason.STALE_INCARNATION),
        (header(inc=8), DropReason.STALE_INCARNATION),
        (header(corr=3), DropReason.STALE_CORR),
        (header(corr=4), DropReason.DUPLICATE),
        (header(corr=10), DropReason.FUTURE_CORR),
        (header(corr=0), DropReason.MALFORMED),
        (header(Kind.PING, src=4), DropReason.UNKNOWN_SOURCE),
        (header(Kind.REQUEST, inc=6), DropReason.STALE_INCARNATION),
    ],
)
def test_anything_else_is_dropped_by_reason(received: Header, reason: DropReason) -> None:
    assert judge(received, expectation()) is reason


def test_nothing_is_accepted_after_close() -> None:
    assert judge(header(), expectation(closed=True)) is DropReason.AFTER_CLOSE


def test_batch_of_chunks_is_judged_piece_by_piece() -> None:
    assert judge(header(Kind.CHUNK, corr=0), expectation()) is None
    verdicts = [judge_corr(corr, expectation()) for corr in (5, 8, 4, 1, 99)]
    assert verdicts == [
        None,
        None,
        DropReason.DUPLICATE,
        DropReason.STALE_CORR,
        DropReason.FUTURE_CORR,
    ]


def test_what_answers_a_question_before_the_first_is_of_the_future() -> None:
    assert judge_corr(1, Expectation(3, 7, (), ())) is DropReason.FUTURE_CORR


def test_source_is_not_judged_before_the_handshake_has_told_it() -> None:
    assert judge(header(Kind.WELCOME, src=99), expectation(src=None)) is None


@pytest.mark.parametrize(
    ("said", "sent", "reason"),
    [
        ((1, 3, 7), (3, 7), None),
        ((2, 3, 7), (3, 7), DropReason.FOREIGN_BOOT),
        ((1, 4, 7), (3, 7), DropReason.UNKNOWN_SOURCE),
        ((1, 3, 7), (4, 7), DropReason.UNKNOWN_SOURCE),
        ((1, 3, 8), (3, 7), DropReason.STALE_INCARNATION),
        ((1, 3, 7), (3, 8), DropReason.STALE_INCARNATION),
    ],
)
def test_hello_must_match_its_routing_id(
    said: tuple[int, int, int], sent: tuple[int, int], reason: DropReason | None
) -> None:
    hello = Hello(*said, 1, "worker", "rank0", 1, 1)
    src, inc = sent
    assert judge_hello(header(Kind.HELLO, src=src, inc=inc), hello, Route(1, 3, 7)) is reason


def test_first_drop_of_a_reason_in_a_minute_is_worth_a_warning() -> None:
    counters = DropCounters()
    warned = [counters.count(DropReason.DUPLICATE, at) for at in (0.0, 1.0, 59.9, 60.0)]
    assert warned == [True, False, False, True]
    assert counters.count(DropReason.STALE_CORR, 1.0)
    assert counters.drops[DropReason.DUPLICATE] == 4
    assert counters.drops[DropReason.MALFORMED] == 0
    assert counters.lost == 0
