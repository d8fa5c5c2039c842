"""Server-sent events as one API writes them (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

import msgspec

COMMENT: Final = b": ping\n\n"
"""What keeps a connection alive and is no event to any client."""


@final
@dataclass(frozen=True, slots=True)
class Framing:
    """``named`` events carry their payload's ``type`` as name; ``end`` closes a good stream."""

    named: bool = False
    end: bytes = b""

    def frame(self, payload: dict[str, Any]) -> bytes:
        """Return one event; JSON has no raw line breaks, so its data is always one line."""
        data = b"data: %b\n\n" % msgspec.json.encode(payload)
        return b"event: %b\n%b" % (payload["type"].encode(), data) if self.named else data


OPENAI: Final = Framing(end=b"data: [DONE]\n\n")
NAMED: Final = Framing(named=True)
