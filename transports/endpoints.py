"""Addresses: what they may look like and where one may listen (pure, but for looking at ipc paths).

``tcp://HOST:PORT`` (port ``*`` for any free one when listening), ``ipc:///absolute/path``, and
``inproc://name`` for simulations.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from transports.errors import EndpointError

IPC_PATH_BYTES = 100
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PROBE_S = 0.2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked address. ``host`` and ``port`` are tcp's, ``path`` is ipc's; port 0 is any."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """True when only this host can reach it."""
        return self.scheme != "tcp" or is_loopback(self.host)

    def __str__(self) -> str:
        if self.scheme == "tcp":
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"tcp://{host}:{self.port or '*'}"
        return f"{self.scheme}://{self.path}"


def parse(text: str) -> Endpoint:
    """Return the address in ``text``.

    Raises:
        EndpointError: It is not one, or an ipc path is relative, abstract or too long.
    """
    scheme, found, rest = text.partition("://")
    if found and scheme == "tcp":
        return _parse_tcp(text, rest)
    if found and scheme == "ipc":
        return _parse_ipc(text, rest)
    if found and scheme == "inproc" and _NAME.fullmatch(rest):
        return Endpoint("inproc", path=rest)
    raise EndpointError(f"{text!r} is no endpoint: use tcp://HOST:PORT or ipc:///PATH")


def _parse_tcp(text: str, rest: str) -> Endpoint:
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = ":" in host and _address(host) is not None
    else:
        valid = host == "*" or _HOST.fullmatch(host) is not None
    if not valid:
        raise EndpointError(f"{text!r} has no valid host")
    if port == "*":
        return Endpoint("tcp", host=host)
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise EndpointError(f"{text!r} has no port from 1 to 65535")
    return Endpoint("tcp", host=host, port=int(port))


def _parse_ipc(text: str, rest: str) -> Endpoint:
    if not rest.startswith("/") or "\0" in rest:
        raise EndpointError(f"{text!r} needs an absolute path")
    size = len(rest.encode())
    if size > IPC_PATH_BYTES:
        raise EndpointError(f"{text!r} is {size} bytes long, limit {IPC_PATH_BYTES}")
    return Endpoint("ipc", path=rest)


def is_loopback(host: str) -> bool:
    """True if ``host`` is an address of the loopback interface, or ``localhost``."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_connect(endpoint: Endpoint) -> None:
    """Refuse what one cannot connect to.

    Raises:
        EndpointError: The host or port is a wildcard.
    """
    if endpoint.scheme == "tcp" and (not endpoint.port or endpoint.host == "*"):
        raise EndpointError(f"cannot connect to {endpoint}: it names no single host and port")


def check_listen(endpoint: Endpoint, *, has_keys: bool) -> None:
    """Fail closed: a listener that others than this host can reach needs CURVE keys.

    Raises:
        EndpointError: Not allowed, or an ipc path that cannot be used.
    """
    if not endpoint.is_local and not has_keys:
        raise EndpointError(
            f"refusing to listen on {endpoint} without CURVE keys: other hosts can reach it; "
            "make keys with 'keygen' and configure them, or listen on 127.0.0.1"
        )
    if endpoint.scheme == "ipc":
        _check_ipc_path(endpoint)


def _check_ipc_path(endpoint: Endpoint) -> None:
    """ZeroMQ would take over the path of a live listener without a word; ask first."""
    path = Path(endpoint.path)
    if not path.parent.is_dir():
        raise EndpointError(f"cannot listen on {endpoint}: {path.parent} is no directory")
    if not path.exists():
        return
    if not path.is_socket():
        raise EndpointError(f"cannot listen on {endpoint}: the path exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(endpoint.path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as ex:
            raise EndpointError(f"cannot listen on {endpoint}: {ex}") from ex
    raise EndpointError(f"cannot listen on {endpoint}: already in use")
