"""A body that goes to several peers as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class EncodedBody:
    """Made by ``transports.codec.encode_once``. Immutable, safe to hand between threads."""

    name: str
    """The type of the body, for errors."""
    payload: bytes
    """The body frame; its size is checked when it is sent."""
