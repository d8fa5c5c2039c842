"""ZAP (RFC 27): which CURVE keys may connect to which listener (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import zmq.utils.z85

ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_CREDENTIALS_AT = 6


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
        return [_VERSION, request_id, b"400", b"key not allowed", b"", b""]
    return [_VERSION, request_id, b"200", b"OK", name.encode(), b""]
