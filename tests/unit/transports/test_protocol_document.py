"""docs/protocol.md names what is on the wire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec

from transports.codec import BODY_BYTES, MIB, RAW_FRAME_BYTES, RAW_FRAMES, RAW_TOTAL_BYTES
from transports.envelope import Flags, Kind
from transports.fence import DropReason
from transports.schemas import AnyBody, Body

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


def documented(name: str) -> list[str] | None:
    """Return the fields in the table row of body ``name``, with ``?`` where it has a default."""
    row = re.search(rf"^\| `{name}` \| (.*?) \|", DOCUMENT, re.MULTILINE)
    if row is None:
        return None
    return [] if row[1] == "none" else row[1].split(", ")


def fields(body: type[Body]) -> list[str]:
    return [
        field.encode_name + ("" if field.required else "?")
        for field in msgspec.structs.fields(body)
    ]


def test_every_body_is_documented_with_its_fields() -> None:
    bodies = get_args(AnyBody)
    assert {body.__name__: documented(body.__name__) for body in bodies} == {
        body.__name__: fields(body) for body in bodies
    }


def test_every_kind_and_drop_reason_is_documented() -> None:
    for kind in Kind:
        assert f"| {int(kind)} | {kind.name} |" in DOCUMENT
    for reason in DropReason:
        assert f"| `{reason}` |" in DOCUMENT


def test_the_flags_and_the_limits_are_those_documented() -> None:
    assert f" {Flags.LAST:d} LAST (on RESULT and ERROR), {Flags.RETRYABLE:d} RETRYABLE " in DOCUMENT
    sizes = [size // MIB for size in (BODY_BYTES, RAW_FRAME_BYTES, RAW_TOTAL_BYTES)]
    limits = "Body {} MiB; {} raw frames; {} MiB each; {} MiB together."
    assert limits.format(sizes[0], RAW_FRAMES, *sizes[1:]) in DOCUMENT
