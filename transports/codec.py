"""Messages to frames and back, within limits (pure).

A message is a header frame, a body frame (msgpack, empty for READY) and up to ``RAW_FRAMES`` raw
frames. Whatever bytes arrive, only ``ProtocolError`` comes out, and nothing larger than what
arrived is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from transports.encoded_body import EncodedBody
from transports.envelope import Header, Kind, unpack
from transports.errors import ProtocolError
from transports.schemas import AnyBody, Body, link

MIB = 1 << 20
BODY_BYTES = 40 * MIB
RAW_FRAMES = 64
RAW_FRAME_BYTES = 64 * MIB
RAW_TOTAL_BYTES = 256 * MIB

_READY = Kind.READY
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(AnyBody)

_CONTROL_BODIES: dict[int, type[Body]] = {
    Kind.HELLO: link.Hello,
    Kind.WELCOME: link.Welcome,
    Kind.ERROR: link.Failure,
    Kind.CANCEL: link.Cancel,
    Kind.PING: link.Ping,
    Kind.PONG: link.Pong,
    Kind.DRAIN: link.Drain,
    Kind.DRAINED: link.Drained,
    Kind.GOODBYE: link.Goodbye,
}
# PERF: indexed by kind, because hashing an enum member is a Python-level call.
_WANTED = tuple(_CONTROL_BODIES.get(number) for number in range(max(Kind) + 1))


def encode_once(body: Body) -> EncodedBody:
    """Return a body that is sent to several peers, so that it is not encoded for each.

    Raises:
        ProtocolError: With reason ``malformed``.
    """
    return EncodedBody(type(body).__name__, _encoded(body))


def encode_body(body: Body | EncodedBody, raw: Sequence[bytes] = ()) -> bytes:
    """Return the body frame, having checked it and ``raw`` against the limits.

    Raises:
        ProtocolError: With reason ``too_large``, or ``malformed`` if no message can hold it.
    """
    if isinstance(body, EncodedBody):
        name, payload = body.name, body.payload
    else:
        name, payload = type(body).__name__, _encoded(body)
    if len(payload) > BODY_BYTES:
        detail = f"{name} of {len(payload)} bytes, limit {BODY_BYTES}"
        raise ProtocolError("too_large", detail)
    if raw:
        _check_raw(raw, "too_large")
    return payload


def decode_header(frames: Sequence[bytes]) -> Header:
    """Return the header of a message, having checked the number and sizes of its frames.

    Raises:
        ProtocolError: With reason ``malformed`` or ``version``.
    """
    try:
        first, body, *raw = frames
    except ValueError:
        detail = f"{len(frames)} frames; a message has at least two"
        raise ProtocolError("malformed", detail) from None
    header = unpack(first)
    if len(body) > BODY_BYTES:
        raise ProtocolError("malformed", f"body of {len(body)} bytes, limit {BODY_BYTES}")
    if raw:
        _check_raw(raw, "malformed")
    return header


def decode_body(kind: Kind, payload: bytes) -> Body | None:
    """Return the body in ``payload``; None for READY, which has none.

    Raises:
        ProtocolError: With reason ``malformed``.
    """
    if kind is _READY:
        if payload:
            raise ProtocolError("malformed", "READY has no body")
        return None
    try:
        body = _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as ex:
        raise ProtocolError("malformed", f"{kind.name} body: {ex}") from ex
    wanted = _WANTED[kind]
    if wanted is not None and type(body) is not wanted:
        raise ProtocolError("malformed", f"{kind.name} carries {type(body).__name__}")
    return body


def _encoded(body: Body) -> bytes:
    try:
        return _encoder.encode(body)
    except (ValueError, OverflowError) as ex:
        # A text that is not UTF-8, such as a file's name, or a number of more than 64 bits.
        raise ProtocolError("malformed", f"{type(body).__name__}: {ex}") from ex


def _check_raw(raw: Sequence[bytes], reason: str) -> None:
    if len(raw) > RAW_FRAMES:
        raise ProtocolError(reason, f"{len(raw)} raw frames, limit {RAW_FRAMES}")
    largest = max(map(len, raw))
    if largest > RAW_FRAME_BYTES:
        raise ProtocolError(reason, f"raw frame of {largest} bytes, limit {RAW_FRAME_BYTES}")
    total = sum(map(len, raw))
    if total > RAW_TOTAL_BYTES:
        raise ProtocolError(reason, f"{total} bytes in raw frames, limit {RAW_TOTAL_BYTES}")
