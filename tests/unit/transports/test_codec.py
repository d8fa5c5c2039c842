from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import codec
from transports.envelope import HEADER_BYTES, VERSION, Flags, Header, Kind, pack, unpack
from transports.errors import ProtocolError
from transports.schemas import Body
from transports.schemas.generate import ChunkItem, Chunks, Generate, TextDelta
from transports.schemas.group import ClearCache, SequenceStep, Step
from transports.schemas.link import Failure, Ping

U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))

headers = st.builds(
    Header,
    version=st.just(VERSION),
    kind=st.sampled_from(Kind),
    flags=st.sampled_from([0, 1, 2, 3]),
    src=U32,
    inc=U32,
    seq=st.integers(1, (1 << 64) - 1),
    corr=U64,
    budget_us=U64,
    trace=U64,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
tokens = st.lists(st.integers(0, 1 << 20), max_size=6).map(tuple)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(Ping, nonce=U64),
    st.builds(
        Failure, code=st.text(), message=st.text(), detail=st.dictionaries(st.text(), st.text())
    ),
    st.builds(
        Generate,
        request_id=st.text(),
        model=st.text(),
        messages=st.lists(
            st.dictionaries(st.text(max_size=4), json_values, max_size=3), max_size=3
        ),
    ),
    st.builds(
        Step,
        step=st.integers(0, 1 << 40),
        sequences=st.lists(
            st.builds(SequenceStep, sequence=U32, position=U32, tokens=tokens), max_size=3
        ).map(tuple),
    ),
    st.builds(
        Chunks,
        items=st.lists(
            st.builds(
                ChunkItem,
                corr=U64,
                index=U32,
                payload=st.builds(TextDelta, text=st.text(), index=U32, tokens=tokens),
            ),
            max_size=3,
        ).map(tuple),
    ),
)
OPEN_KINDS = (Kind.REQUEST, Kind.RESULT, Kind.CHUNK, Kind.NOTE)


def take(frames: list[bytes]) -> tuple[Header, Body | None]:
    header = codec.decode_header(frames)
    return header, codec.decode_body(header.kind, frames[1])


def attempt(frames: list[bytes]) -> str:
    """Return ``message``, or the reason of the ProtocolError."""
    try:
        take(frames)
    except ProtocolError as ex:
        return ex.reason
    return "message"


@given(headers)
def test_header_survives_the_wire(header: Header) -> None:
    assert unpack(pack(*header)) == header


@given(st.sampled_from(OPEN_KINDS), bodies)
def test_body_survives_the_wire(kind: Kind, body: Body) -> None:
    assert codec.decode_body(kind, codec.encode_body(body)) == body


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_frames_give_nothing_but_a_protocol_error(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        take(frames)


@given(headers, st.binary(max_size=300))
def test_arbitrary_body_gives_a_body_or_a_protocol_error(header: Header, payload: bytes) -> None:
    outcome = attempt([pack(*header), payload])
    assert outcome in {"message", "malformed"}


@given(headers, bodies, st.data())
def test_truncated_messages_are_refused(header: Header, body: Body, data: st.DataObject) -> None:
    header = header._replace(kind=Kind.REQUEST)
    payload = codec.encode_body(body)
    short = data.draw(st.integers(0, HEADER_BYTES - 1))
    with pytest.raises(ProtocolError):
        take([pack(*header)[:short], payload])
    with pytest.raises(ProtocolError):
        take([pack(*header), payload[: data.draw(st.integers(0, len(payload) - 1))]])


@given(headers, bodies, st.data())
def test_flipped_bits_give_a_message_or_a_protocol_error(
    header: Header, body: Body, data: st.DataObject
) -> None:
    frames = [bytearray(pack(*header)), bytearray(codec.encode_body(body))]
    for _ in range(data.draw(st.integers(1, 8))):
        frame = frames[data.draw(st.integers(0, 1))]
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    outcome = attempt([bytes(frame) for frame in frames])
    assert outcome in {"message", "malformed", "version"}


def header_of(of: Kind, **fields: int) -> bytes:
    return pack(*tuple((Header(VERSION, of, 0, 0, 0, 1, 0, 0, 0)._asdict() | fields).values()))


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (b"", "malformed: header of 0 bytes, not 48"),
        (b"CTX1" + bytes(45), "malformed: header of 49 bytes, not 48"),
        (b"HTTP" + header_of(Kind.PING, version=2)[4:], "malformed: magic is b'HTTP'"),
        (header_of(Kind.PING, version=2, kind=99), "version: peer speaks 2, we speak 1"),
        (header_of(Kind.PING, kind=0), "malformed: unknown kind 0"),
        (header_of(Kind.PING, kind=15, flags=4), "malformed: unknown kind 15"),
        (header_of(Kind.PING, flags=4), "malformed: unknown flags 0x0004"),
        (header_of(Kind.PING, seq=0), "malformed: sequence numbers start at 1"),
    ],
)
def test_bad_header_is_refused_by_its_first_fault(frame: bytes, fault: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        unpack(frame)
    assert str(caught.value) == fault


def test_header_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        header_of(Kind.PING, inc=1 << 32)


def test_known_flags_are_all_accepted() -> None:
    flags = int(Flags.LAST | Flags.RETRYABLE)
    assert unpack(header_of(Kind.ERROR, flags=flags)).flags == flags


def test_body_of_another_kind_is_refused() -> None:
    with pytest.raises(ProtocolError, match="HELLO carries Ping"):
        codec.decode_body(Kind.HELLO, codec.encode_body(Ping(1)))


def test_ready_has_no_body() -> None:
    assert codec.decode_body(Kind.READY, b"") is None
    with pytest.raises(ProtocolError, match="READY"):
        codec.decode_body(Kind.READY, b"\xc0")


def test_unknown_body_type_is_refused() -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        codec.decode_body(Kind.REQUEST, b"\x81\xa1t\xa9os.system")


def test_pickle_is_just_bytes_that_make_no_sense() -> None:
    # cos\nsystem\n(S'touch /tmp/owned'\ntR. as pickle protocol 0 would have it.
    with pytest.raises(ProtocolError, match="malformed"):
        codec.decode_body(Kind.REQUEST, b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x91" * 200_000, id="nested arrays"),
        pytest.param(
            b"\x82\xa1t\xa8Generate\xa8messages\x91\x81\xa1x" + b"\x91" * 200_000,
            id="nested content",
        ),
        pytest.param(b"\x82\xa1t\xa6Chunks\xa5items\xdd\xff\xff\xff\xff", id="huge array"),
        pytest.param(b"\x82\xa1t\xa4Ping\xa5nonce\xdb\xff\xff\xff\xff", id="huge string"),
    ],
)
def test_body_that_promises_too_much_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        codec.decode_body(Kind.REQUEST, payload)


def test_limits_hold_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "BODY_BYTES", 64)
    monkeypatch.setattr(codec, "RAW_FRAMES", 2)
    monkeypatch.setattr(codec, "RAW_FRAME_BYTES", 8)
    monkeypatch.setattr(codec, "RAW_TOTAL_BYTES", 12)
    header, payload = header_of(Kind.NOTE), codec.encode_body(ClearCache())
    for raw in ([b"1", b"2", b"3"], [bytes(9), b"1"], [bytes(7), bytes(6)]):
        with pytest.raises(ProtocolError, match="too_large"):
            codec.encode_body(ClearCache(), raw)
        with pytest.raises(ProtocolError, match="malformed"):
            codec.decode_header([header, payload, *raw])
    with pytest.raises(ProtocolError, match="too_large"):
        codec.encode_body(Failure("x", "y" * 80))
    with pytest.raises(ProtocolError, match="malformed"):
        codec.decode_header([header, bytes(65)])
    assert codec.decode_header([header, payload, bytes(8), bytes(4)]).kind is Kind.NOTE
    monkeypatch.setattr(codec, "BODY_BYTES", len(payload))
    assert codec.encode_body(ClearCache()) == payload
    assert codec.decode_header([header, payload]).kind is Kind.NOTE


def test_a_body_encoded_once_is_the_same_on_the_wire() -> None:
    body = Step(7, ())
    assert codec.encode_body(codec.encode_once(body)) == codec.encode_body(body)


def test_a_body_encoded_once_has_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "BODY_BYTES", 8)
    with pytest.raises(ProtocolError) as refused:
        codec.encode_body(codec.encode_once(Step(7, ())))
    assert refused.value.reason == "too_large"
    assert refused.value.detail.startswith("Step of ")


@pytest.mark.parametrize("body", [Failure("x", "caf\udce9"), Ping(2**64), Ping(-(2**63) - 1)])
def test_a_body_that_the_wire_cannot_hold_is_refused(body: Body) -> None:
    for encode in (codec.encode_body, codec.encode_once):
        with pytest.raises(ProtocolError, match=f"malformed: {type(body).__name__}"):
            encode(body)
