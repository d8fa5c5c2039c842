"""A peer that says whatever it likes, on a real socket."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import msgspec
import zmq

from transports.codec import decode_body, encode_body
from transports.envelope import VERSION, Header, Kind, pack, unpack
from transports.schemas import Body
from transports.schemas.link import Hello

BOOT, SLOT, INC = 0xB007, 3, 7
ROUTE = b"000000000000b007.3.7"


class Intruder:
    """A DEALER socket and a pen to forge headers with."""

    def __init__(self, endpoint: str, routing_id: bytes = ROUTE) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.connect(endpoint)
        self.seq = 0

    def __enter__(self) -> Intruder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close(0)
        self._context.term()

    def say(
        self, kind: Kind, payload: bytes | Body, raw: Sequence[bytes] = (), **fields: int
    ) -> None:
        """Send a message whose header is right but for ``fields``."""
        self.seq += 1
        header = Header(VERSION, kind, 0, SLOT, INC, self.seq, 0, 0, 0)._asdict() | fields
        body = payload if isinstance(payload, bytes) else encode_body(payload)
        self.socket.send_multipart([pack(*tuple(header.values())), body, *raw])

    def say_hello(self, **fields: int) -> None:
        """Send a HELLO that is right but for ``fields``."""
        hello = Hello(BOOT, SLOT, INC, 1, "worker", "intruder", 1, 1)
        self.say(Kind.HELLO, msgspec.structs.replace(hello, **fields))

    def join(self) -> None:
        """Go through the handshake properly."""
        self.say_hello()
        kind, _ = self.hear()
        assert kind is Kind.WELCOME
        self.say(Kind.READY, b"")

    def hear(self, within_ms: int = 3000) -> tuple[Kind, Body | None]:
        """Return the next message.

        Raises:
            TimeoutError: There is none.
        """
        if not self.socket.poll(within_ms):
            raise TimeoutError("no answer")
        header, payload, *_ = self.socket.recv_multipart()
        kind = unpack(header).kind
        return kind, decode_body(kind, payload)
