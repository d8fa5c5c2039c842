"""ZAP (RFC 27): which CURVE keys may connect to which listener (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import zmq.utils.z85

ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_ADDRESS_AT = 3
_CREDENTIALS_AT = 6
_REFUSED = b"400"
_KEY_BYTES = 32


def answer(request: Sequence[bytes], allowed: Mapping[bytes, Mapping[bytes, str]]) -> list[bytes]:
    """Return the reply to a ZAP request of libzmq's.

    ``allowed`` has, by ZAP domain, the name of each public key that may connect. The name becomes
    the connection's user id.
    """
    request_id, domain, mechanism = request[1], request[2], request[_CREDENTIALS_AT - 1]
    name = None
    if mechanism == b"CURVE" and len(request) == _CREDENTIALS_AT + 1:
        key = zmq.utils.z85.encode(request[_CREDENTIALS_AT])
        name = allowed.get(domain, {}).get(key)
    if name is None:
        return [_VERSION, request_id, _REFUSED, b"key not allowed", b"", b""]
    return [_VERSION, request_id, b"200", b"OK", name.encode(), b""]


def refuses(reply: Sequence[bytes]) -> bool:
    """Whether this reply keeps somebody out."""
    return reply[2] == _REFUSED


def who(request: Sequence[bytes]) -> str:
    """Return who asks, for the log: the address, and the public key if there is one."""
    address = request[_ADDRESS_AT].decode(errors="replace")
    keys = request[_CREDENTIALS_AT:]
    known = len(keys) == 1 and len(keys[0]) == _KEY_BYTES
    key = zmq.utils.z85.encode(keys[0]).decode() if known else "none"
    return f"peer={address} key={key}"
