"""The rules of one connection, with nothing but frames in between."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import codec
from transports.calls import Deliver, Discard
from transports.effects import (
    Asked,
    Down,
    Effect,
    Lacking,
    Noted,
    Revoked,
    Send,
    Suspect,
    Up,
)
from transports.envelope import VERSION, Flags, Header, Kind, pack, unpack
from transports.errors import LinkDown
from transports.fence import DropReason
from transports.link import CallEvent, Chunk, Completed, Identity, LinkState, Lost, Progress
from transports.liveness import LOCAL
from transports.schemas import Body
from transports.schemas.generate import ChunkItem, Chunks, TextDelta
from transports.schemas.group import ClearCache
from transports.schemas.link import Cancel, Drain, Goodbye, Hello, Ping, Pong, Welcome
from transports.session import Session

DIALER = Identity(boot=10, slot=3, inc=7, pid=1, role="worker", name="rank0")
LISTENER = Identity(boot=20, slot=0, inc=1, pid=2, role="engine", name="engine")
INF = float("inf")
QUESTION = codec.encode_body(ClearCache())


def ignore(_: CallEvent) -> None:
    pass


def sent(effects: Iterable[Effect]) -> list[tuple[Kind, Body | None]]:
    messages = [effect.frames for effect in effects if isinstance(effect, Send)]
    kinds = [unpack(frames[0]).kind for frames in messages]
    return [(kind, codec.decode_body(kind, f[1])) for kind, f in zip(kinds, messages, strict=True)]


def frames_of(effects: Iterable[Effect]) -> list[list[bytes]]:
    return [effect.frames for effect in effects if isinstance(effect, Send)]


def message(kind: Kind, body: Body | None, seq: int, **fields: int) -> list[bytes]:
    header = Header(VERSION, kind, 0, 0, DIALER.inc, seq, 0, 0, 0)._asdict() | fields
    return [pack(*tuple(header.values())), b"" if body is None else codec.encode_body(body)]


class Dialing:
    """The connecting end, up; ``hear`` speaks for the listener."""

    def __init__(self) -> None:
        self.session = Session(DIALER, LOCAL, 0.0)
        self.session.hello()
        self.seq = 0
        self.up = self.hear(Kind.WELCOME, Welcome(LISTENER.boot, LISTENER.name, VERSION))

    def hear(self, kind: Kind, body: Body | None, now: float = 0.0, **fields: int) -> list[Effect]:
        self.seq += 1
        frames = message(kind, body, **{"seq": self.seq, **fields})
        return list(self.session.received(frames, now))


@pytest.fixture
def dialing() -> Dialing:
    return Dialing()


def listening() -> Session:
    session = Session(LISTENER, LOCAL, 0.0, DIALER)
    session.welcome(1)
    return session


def test_handshake_in_three_messages() -> None:
    dialer = Session(DIALER, LOCAL, 0.0)
    (hello,) = frames_of(dialer.hello())
    body = codec.decode_body(Kind.HELLO, hello[1])
    assert body == Hello(10, 3, 7, 1, "worker", "rank0", VERSION, VERSION)
    listener = Session(LISTENER, LOCAL, 0.0, DIALER)
    (welcome,) = frames_of(listener.welcome(unpack(hello[0]).seq))
    effects = dialer.received(welcome, 0.0)
    assert effects[1] == Up(Identity(20, 0, 7, 0, "", "engine"))
    assert dialer.state is LinkState.UP
    (ready,) = frames_of(effects)
    assert listener.received(ready, 0.0) == (Up(DIALER),)
    assert listener.state is LinkState.UP


def test_incarnation_on_the_wire_is_the_dialers_in_both_directions() -> None:
    (welcome,) = frames_of(Session(LISTENER, LOCAL, 0.0, DIALER).welcome(1))
    assert unpack(welcome[0]).inc == DIALER.inc


def test_other_version_ends_the_handshake() -> None:
    session = Session(DIALER, LOCAL, 0.0)
    effects = session.received(message(Kind.WELCOME, Welcome(20, "engine", 2), 1), 0.0)
    assert effects[-1] == Down("version", "peer chose 2, we speak 1")


def test_nothing_but_the_handshake_is_heard_before_it_is_over() -> None:
    session = listening()
    effects = session.received(message(Kind.NOTE, ClearCache(), 2, src=DIALER.slot), 0.0)
    assert effects == (Discard(DropReason.MALFORMED),)
    with pytest.raises(LinkDown):
        session.request(ignore, QUESTION, (), 1.0, 1.0, 0)


def test_handshake_messages_are_heard_once(dialing: Dialing) -> None:
    assert dialing.hear(Kind.READY, None) == [Discard(DropReason.MALFORMED)]
    welcome = dialing.hear(Kind.WELCOME, Welcome(21, "other", VERSION))
    assert welcome == [Discard(DropReason.MALFORMED)]
    assert dialing.session.peer is not None
    assert dialing.session.peer.boot == LISTENER.boot


def test_nobody_is_ready_for_an_end_that_was_not_welcomed() -> None:
    session = Session(DIALER, LOCAL, 0.0)
    assert session.received(message(Kind.READY, None, 1), 0.0) == (Discard(DropReason.MALFORMED),)
    assert session.state is LinkState.CONNECTING


def test_second_hello_is_refused_and_ends_the_link(dialing: Dialing) -> None:
    effects = dialing.hear(Kind.HELLO, Hello(20, 0, 7, 1, "x", "x", 1, 1))
    assert effects[0] == Discard(DropReason.DUPLICATE)
    assert effects[-1] == Down("protocol", "second HELLO")
    assert (Kind.GOODBYE, Goodbye("protocol", "second HELLO")) in sent(effects)


def test_request_carries_what_remains_of_its_time(dialing: Dialing) -> None:
    _, frames = dialing.session.request(ignore, QUESTION, (), 12.5, 2.5, 77)
    assert unpack(frames[0]) == Header(VERSION, Kind.REQUEST, 0, 3, 7, 3, 0, 2_500_000, 77)
    _, frames = dialing.session.request(ignore, QUESTION, (), 9.0, -1.0, 0)
    assert unpack(frames[0]).budget_us == 1
    _, frames = dialing.session.request(ignore, QUESTION, (), INF, INF, 0)
    assert unpack(frames[0]).budget_us == 0


def test_budget_is_pinned_to_our_clock(dialing: Dialing) -> None:
    (asked,) = dialing.hear(Kind.REQUEST, ClearCache(), now=100.0, budget_us=2_000_000, trace=5)
    assert asked == Asked(2, ClearCache(), (), 102.0, 5)
    (asked,) = dialing.hear(Kind.REQUEST, ClearCache(), now=100.0)
    assert isinstance(asked, Asked)
    assert asked.deadline is None


def test_answers_are_marked_as_last(dialing: Dialing) -> None:
    final = dialing.session.reply(Kind.RESULT, 2, QUESTION)
    piece = dialing.session.reply(Kind.CHUNK, 2, QUESTION)
    assert unpack(final[0]) == Header(VERSION, Kind.RESULT, Flags.LAST, 3, 7, 3, 2, 0, 0)
    assert unpack(piece[0]) == Header(VERSION, Kind.CHUNK, 0, 3, 7, 4, 2, 0, 0)


def test_repeated_message_is_dropped(dialing: Dialing) -> None:
    assert dialing.hear(Kind.NOTE, ClearCache()) == [Noted(ClearCache(), ())]
    again = dialing.hear(Kind.NOTE, ClearCache(), seq=2)
    assert again == [Discard(DropReason.DUPLICATE)]


def test_gap_makes_the_link_suspect_and_asks_the_peer(dialing: Dialing) -> None:
    effects = dialing.hear(Kind.NOTE, ClearCache(), seq=5)
    assert sent(effects) == [(Kind.PING, Ping(1))]
    assert effects[1:] == [Lacking(3), Suspect(), Noted(ClearCache(), ())]
    assert repr(dialing.session.state) == repr(LinkState.SUSPECT)
    dialing.seq = 5
    assert dialing.hear(Kind.PONG, Pong(1)) == []
    assert dialing.session.state is LinkState.UP


def test_gap_in_the_handshake_is_counted_and_asks_nothing() -> None:
    ready = message(Kind.READY, None, 4, src=DIALER.slot)
    assert listening().received(ready, 0.0) == (Lacking(2), Up(DIALER))


def test_what_is_sent_after_a_gap_keeps_its_order(dialing: Dialing) -> None:
    numbers = [unpack(each[0]).seq for each in frames_of(dialing.hear(Kind.PING, Ping(1), seq=5))]

    assert len(numbers) == 2
    assert numbers == sorted(numbers)


def test_stale_answer_uses_up_its_number_but_nothing_else(dialing: Dialing) -> None:
    dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    stale = dialing.hear(Kind.RESULT, ClearCache(), corr=1)
    assert stale == [Discard(DropReason.STALE_CORR)]
    assert dialing.hear(Kind.NOTE, ClearCache()) == [Noted(ClearCache(), ())]


def test_message_of_another_incarnation_does_not_use_up_a_number(dialing: Dialing) -> None:
    stale = dialing.hear(Kind.NOTE, ClearCache(), inc=6)
    assert stale == [Discard(DropReason.STALE_INCARNATION)]
    dialing.seq -= 1
    assert dialing.hear(Kind.NOTE, ClearCache()) == [Noted(ClearCache(), ())]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"corr": 99}, DropReason.FUTURE_CORR), ({"src": 4}, DropReason.UNKNOWN_SOURCE)],
)
def test_impossible_message_ends_the_link(
    dialing: Dialing, fields: dict[str, int], reason: DropReason
) -> None:
    effects = dialing.hear(Kind.RESULT, ClearCache(), **fields)
    assert effects[0] == Discard(reason)
    assert effects[-1] == Down("protocol", f"{reason}: RESULT")
    assert dialing.hear(Kind.NOTE, ClearCache()) == [Discard(DropReason.AFTER_CLOSE)]


def test_batch_of_chunks_is_given_out_piece_by_piece(dialing: Dialing) -> None:
    first, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    second, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    one, two = TextDelta("1", 0), TextDelta("2", 0)
    items = (ChunkItem(first, 0, one), ChunkItem(1, 0, one), ChunkItem(second, 0, two))
    assert dialing.hear(Kind.CHUNK, Chunks(items)) == [
        Deliver(ignore, Chunk(0, one)),
        Discard(DropReason.STALE_CORR),
        Deliver(ignore, Chunk(0, two)),
    ]


def test_hole_in_a_stream_ends_it_and_tells_the_peer(dialing: Dialing) -> None:
    seq, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    effects = dialing.hear(Kind.CHUNK, Chunks((ChunkItem(seq, 1, TextDelta("b", 1)),)))
    assert sent(effects) == [(Kind.CANCEL, Cancel("protocol"))]
    (deliver,) = (effect for effect in effects if isinstance(effect, Deliver))
    assert isinstance(deliver.event, Lost)


def test_impossible_piece_ends_the_link_and_the_batch(dialing: Dialing) -> None:
    seq, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    items = (ChunkItem(99, 0, TextDelta("x", 0)), ChunkItem(seq, 0, TextDelta("y", 0)))
    effects = dialing.hear(Kind.CHUNK, Chunks(items))
    assert isinstance(effects[-1], Down)
    events = [effect.event for effect in effects if isinstance(effect, Deliver)]
    assert [type(event) for event in events] == [Lost]


def test_progress_needs_a_question(dialing: Dialing) -> None:
    effects = dialing.hear(Kind.CHUNK, ClearCache(), corr=0)
    assert effects == [Discard(DropReason.MALFORMED)]
    seq, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    effects = dialing.hear(Kind.CHUNK, ClearCache(), corr=seq)
    assert effects == [Deliver(ignore, Progress(ClearCache()))]


def test_ping_is_answered_and_cancel_and_drain_are_passed_on(dialing: Dialing) -> None:
    assert sent(dialing.hear(Kind.PING, Ping(9))) == [(Kind.PONG, Pong(9))]
    assert dialing.hear(Kind.CANCEL, Cancel("why"), corr=4) == [Revoked(4, "why")]
    assert dialing.hear(Kind.DRAIN, Drain(1.0)) == [Noted(Drain(1.0), ())]
    (frames,) = [dialing.session.note(Drain, codec.encode_body(Drain(1.0)), (), 0)]
    assert unpack(frames[0]) == Header(VERSION, Kind.DRAIN, 0, 3, 7, 4, 0, 0, 0)


@pytest.mark.parametrize("raw", [(), (b"1",), (b"1", b"2")])
def test_raw_frames_come_with_their_message(dialing: Dialing, raw: tuple[bytes, ...]) -> None:
    frames = [*message(Kind.NOTE, ClearCache(), 2), *raw]
    assert dialing.session.received(frames, 0.0) == (Noted(ClearCache(), raw),)


def test_deadline_ends_the_call_and_tells_the_peer(dialing: Dialing) -> None:
    dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    assert dialing.session.next_deadline() == 5.0
    assert dialing.session.expire(4.9) == ()
    effects = dialing.session.expire(5.0)
    assert sent(effects) == [(Kind.CANCEL, Cancel("deadline"))]
    assert effects[1] == Deliver(ignore, Lost("deadline"))


def test_goodbye_counts_whatever_its_number(dialing: Dialing) -> None:
    dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    effects = dialing.hear(Kind.GOODBYE, Goodbye("stopped", "bye"), seq=1)
    assert effects == [
        Deliver(ignore, Lost("link_down", "stopped: bye")),
        Down("stopped", "bye"),
    ]


def test_end_comes_once(dialing: Dialing) -> None:
    dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    assert sent(dialing.session.doubt()) == [(Kind.PING, Ping(1))]
    _, *ends = dialing.session.close("a")
    assert ends == [Deliver(ignore, Lost("link_down", "a")), Down("a", "")]
    assert dialing.session.close("b") == dialing.session.lost("c") == ()
    assert dialing.session.doubt() == ()
    with pytest.raises(LinkDown):
        dialing.session.note(ClearCache, QUESTION, (), 0)


def test_silent_peer_is_asked_suspected_and_given_up(dialing: Dialing) -> None:
    kinds: list[str] = []
    states: list[LinkState] = []
    for half_seconds in range(1, 11):
        effects = dialing.session.tick(half_seconds * LOCAL.tick_s)
        kinds += ["suspect" for effect in effects if isinstance(effect, Suspect)]
        kinds += [kind.name for kind, _ in sent(effects)]
        states.append(dialing.session.state)
    assert kinds == [*["PING"] * 4, "suspect", *["PING"] * 4, "GOODBYE"]
    assert states == [*[LinkState.UP] * 5, *[LinkState.SUSPECT] * 4, LinkState.DOWN]


def test_peer_with_work_of_ours_is_not_judged_by_silence(dialing: Dialing) -> None:
    seq, _ = dialing.session.request(ignore, QUESTION, (), 1e9, 1e9, 0)
    for half_seconds in range(1, 200):
        assert dialing.session.tick(half_seconds * LOCAL.tick_s) == ()
    (deliver,) = dialing.hear(Kind.RESULT, ClearCache(), now=100.0, corr=seq)
    assert deliver == Deliver(ignore, Completed(ClearCache()))


@given(st.lists(st.lists(st.binary(max_size=80), max_size=4), max_size=10))
def test_no_bytes_make_it_raise_or_go_down(batches: list[list[bytes]]) -> None:
    session = Dialing().session
    for frames in batches:
        effects = session.received(frames, 0.0)
        assert all(isinstance(effect, Discard) for effect in effects)
    assert session.is_up


@given(byte=st.sampled_from([*range(8, 16), *range(24, 32)]), bit=st.integers(0, 7))
def test_flipped_bit_of_source_incarnation_or_correlation_answers_nothing(
    byte: int, bit: int
) -> None:
    dialing = Dialing()
    seq, _ = dialing.session.request(ignore, QUESTION, (), 5.0, 5.0, 0)
    header, body = message(Kind.RESULT, ClearCache(), 2, corr=seq)
    flipped = bytearray(header)
    flipped[byte] ^= 1 << bit
    effects = dialing.session.received([bytes(flipped), body], 0.0)
    events = [effect.event for effect in effects if isinstance(effect, Deliver)]
    assert all(isinstance(event, Lost) for event in events)
