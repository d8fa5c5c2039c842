"""What goes wrong on a link."""

from __future__ import annotations


class TransportError(Exception):
    """Root of this package's errors."""

    code = "transport"
    retryable = False


class ProtocolError(TransportError):
    """A peer sent something that the protocol forbids; ``reason`` is a stable word."""

    code = "protocol"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class LinkDown(TransportError):
    """The link is not up; open a new one."""

    code = "link_down"
    retryable = True


class Backpressure(TransportError):
    """The send queue is full; try again later or elsewhere."""

    code = "backpressure"
    retryable = True


class EndpointError(TransportError):
    """An address is malformed, too long, in use, or not allowed."""

    code = "endpoint"


class KeyFileError(TransportError):
    """A CURVE key is missing, unreadable, too widely readable, or not acceptable."""

    code = "key_file"
