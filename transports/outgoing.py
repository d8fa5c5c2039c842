"""A REQUEST as the asking side holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import msgspec

if TYPE_CHECKING:
    from transports.channel import Channel


@final
class OutgoingCall(msgspec.Struct, eq=False):
    """A question in flight. ``seq`` is 0 until it has been sent."""

    # PERF: one is made per request; see ``transports.effects``.
    _channel: Channel
    seq: int = 0

    def cancel(self, reason: str = "") -> None:
        """Tell the peer that the answer is no longer wanted; idempotent. Any thread."""
        self._channel.revoke(self, reason)
