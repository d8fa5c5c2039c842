"""The wire format, byte for byte: a change of these files is a change of the protocol.

Each file has one frame per line, in hex; ``python -m tests.unit.transports.test_golden`` writes
them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from transports import codec
from transports.envelope import VERSION, Flags, Header, Kind, pack
from transports.schemas import Body
from transports.schemas.generate import ChunkItem, Chunks, TextDelta
from transports.schemas.group import CacheCleared, ClearCache, SampleParams, SequenceStep, Step
from transports.schemas.link import (
    Cancel,
    Drain,
    Drained,
    Failure,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Welcome,
)

GOLDEN = Path(__file__).parent / "golden"
BOOT = 0x0123_4567_89AB_CDEF

Message = tuple[Header, Body | None, tuple[bytes, ...]]


def _header(kind: Kind, seq: int, **fields: int) -> Header:
    blank = Header(VERSION, kind, 0, src=3, inc=7, seq=seq, corr=0, budget_us=0, trace=0)
    return Header(**(blank._asdict() | fields))


def _chunk(corr: int, index: int, text: str, tokens: tuple[int, ...]) -> ChunkItem:
    return ChunkItem(corr, index, TextDelta(text, index=index, tokens=tokens))


STEP = Step(
    step=9,
    sequences=(
        SequenceStep(1, position=4, tokens=(11, 12), sample=SampleParams(temperature=0.5, seed=6)),
        SequenceStep(2, position=0, tokens=(13,)),
    ),
    forget=(5,),
)

CASES: dict[str, Message] = {
    "hello": (
        _header(Kind.HELLO, 1),
        Hello(BOOT, 3, 7, 4321, "worker", "rank0", 1, 1),
        (),
    ),
    "welcome": (_header(Kind.WELCOME, 1, src=0), Welcome(BOOT + 1, "engine", 1), ()),
    "ready": (_header(Kind.READY, 2), None, ()),
    "request": (_header(Kind.REQUEST, 3, budget_us=2_500_000, trace=0xFEED), STEP, ()),
    "request_raw": (
        _header(Kind.REQUEST, 4),
        ClearCache(),
        (b"\x00\x01\x02", b""),
    ),
    "result": (_header(Kind.RESULT, 5, corr=3, flags=Flags.LAST), CacheCleared(rank=1), ()),
    "error": (
        _header(Kind.ERROR, 6, corr=3, flags=Flags.LAST | Flags.RETRYABLE),
        Failure("overloaded", "try later", retry_after_s=1.5, detail={"queue": "7"}),
        (),
    ),
    "chunk": (
        _header(Kind.CHUNK, 7),
        Chunks((_chunk(3, 0, "Grüße", (5, 6)), _chunk(4, 2, "", ()))),
        (),
    ),
    "progress": (_header(Kind.CHUNK, 8, corr=3), ClearCache(), ()),
    "cancel": (_header(Kind.CANCEL, 9, corr=3), Cancel("client gone"), ()),
    "ping": (_header(Kind.PING, 10), Ping(1), ()),
    "pong": (_header(Kind.PONG, 11), Pong(1), ()),
    "drain": (_header(Kind.DRAIN, 12), Drain(grace_s=15.0), ()),
    "drained": (_header(Kind.DRAINED, 13), Drained(), ()),
    "goodbye": (_header(Kind.GOODBYE, 14), Goodbye("stopped", "by operator"), ()),
    "note": (_header(Kind.NOTE, 15, trace=1), ClearCache(), ()),
}


def _frames(message: Message) -> list[bytes]:
    header, body, raw = message
    return [pack(*header), b"" if body is None else codec.encode_body(body, raw), *raw]


def _lines(frames: list[bytes]) -> str:
    return "".join(frame.hex() + "\n" for frame in frames)


@pytest.mark.parametrize("name", CASES)
def test_message_is_encoded_as_pinned(name: str) -> None:
    assert _lines(_frames(CASES[name])) == (GOLDEN / f"{name}.hex").read_text()


@pytest.mark.parametrize("name", CASES)
def test_pinned_bytes_are_decoded_to_the_message(name: str) -> None:
    frames = [bytes.fromhex(line) for line in (GOLDEN / f"{name}.hex").read_text().splitlines()]
    header, body, raw = CASES[name]
    assert codec.decode_header(frames) == header
    assert codec.decode_body(header.kind, frames[1]) == body
    assert tuple(frames[2:]) == raw


def test_every_kind_is_pinned() -> None:
    assert {header.kind for header, _, _ in CASES.values()} == set(Kind)


if __name__ == "__main__":
    for case, message in CASES.items():
        (GOLDEN / f"{case}.hex").write_text(_lines(_frames(message)))
