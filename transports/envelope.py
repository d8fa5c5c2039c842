"""The fixed 48-byte header in front of every message (pure).

It is one frame of its own and never msgpack, so a frame can be refused before anything of variable
length is looked at. ``docs/protocol.md`` has the table of fields.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from transports.errors import ProtocolError

MAGIC = b"CTX1"
VERSION = 1

_LAYOUT = struct.Struct("!4sBBHIIQQQQ")
_START = struct.Struct("!4sBBH")
_START_AND_REST = struct.Struct("!8sIIQQQQ")
HEADER_BYTES = _LAYOUT.size
_pack, _unpack_start_and_rest = _LAYOUT.pack, _START_AND_REST.unpack


class Kind(IntEnum):
    """What a message is. Death is never on the wire: it is concluded locally."""

    HELLO = 1
    WELCOME = 2
    READY = 3
    REQUEST = 4
    RESULT = 5
    ERROR = 6
    CHUNK = 7
    CANCEL = 8
    PING = 9
    PONG = 10
    DRAIN = 11
    DRAINED = 12
    GOODBYE = 13
    NOTE = 14


class Flags(IntFlag):
    """Bits of the header; a bit that is not listed makes a message malformed."""

    LAST = 1
    RETRYABLE = 2


class Header(NamedTuple):
    """The envelope's fields, in wire order and without the magic."""

    version: int
    kind: Kind
    flags: int
    src: int
    inc: int
    seq: int
    corr: int
    budget_us: int
    trace: int


_tuple = tuple.__new__
_KINDS = frozenset(int(kind) for kind in Kind)
_FLAGS = int(Flags.LAST | Flags.RETRYABLE)
# PERF: every beginning that a header may have, so that one look-up checks four fields.
_STARTS: dict[bytes, tuple[int, Kind, int]] = {
    _START.pack(MAGIC, VERSION, kind, flags): (VERSION, kind, flags)
    for kind in Kind
    for flags in range(_FLAGS + 1)
}


def pack(*header: int) -> bytes:
    """Return the 48 bytes of a header that has these fields, all of ``Header``'s and in its order.

    Raises:
        ProtocolError: A field does not fit its width (reason ``malformed``).
    """
    try:
        return _pack(MAGIC, *header)
    except struct.error as ex:
        raise ProtocolError("malformed", f"{header} does not fit the envelope: {ex}") from ex


def unpack(frame: bytes) -> Header:
    """Return the header in ``frame``.

    Raises:
        ProtocolError: With reason ``malformed``, or ``version`` for another major version.
    """
    if len(frame) != HEADER_BYTES:
        raise ProtocolError("malformed", f"header of {len(frame)} bytes, not {HEADER_BYTES}")
    start, src, inc, seq, corr, budget_us, trace = _unpack_start_and_rest(frame)
    known = _STARTS.get(start)
    if known is None:
        raise _fault(start)
    if seq == 0:
        raise ProtocolError("malformed", "sequence numbers start at 1")
    version, kind, flags = known
    # PERF: what Header(...) does, without its Python-level constructor.
    return _tuple(Header, (version, kind, flags, src, inc, seq, corr, budget_us, trace))


def _fault(start: bytes) -> ProtocolError:
    """Return what is wrong with the beginning of a header."""
    magic, version, kind, flags = _START.unpack(start)
    if magic != MAGIC:
        return ProtocolError("malformed", f"magic is {magic!r}")
    if version != VERSION:
        return ProtocolError("version", f"peer speaks {version}, we speak {VERSION}")
    if kind not in _KINDS:
        return ProtocolError("malformed", f"unknown kind {kind}")
    return ProtocolError("malformed", f"unknown flags {flags:#06x}")
