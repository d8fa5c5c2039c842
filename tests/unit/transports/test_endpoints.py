from __future__ import annotations

import socket
from pathlib import Path

import pytest

from transports.endpoints import Endpoint, check_connect, check_listen, is_loopback, parse
from transports.errors import EndpointError


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:13132",
        "tcp://localhost:1",
        "tcp://gpu-1.example.org:65535",
        "tcp://[::1]:13132",
        "tcp://127.0.0.1:*",
        "ipc:///run/user/0/cortex/a.sock",
        "inproc://fleet",
    ],
)
def test_valid_endpoint_is_itself(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:80",
        "http://127.0.0.1:80",
        "tcp://",
        "tcp://:80",
        "tcp://host",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:99999999999",
        "tcp://host:8²",
        "tcp://ho st:80",
        "tcp://eth0;tcp://a:80",
        "tcp://::1:80",
        "tcp://[zz]:80",
        "ipc://relative/path",
        "ipc://@abstract",
        "ipc:///nul\0byte",
        "inproc://",
        "inproc://a b",
    ],
)
def test_invalid_endpoint_is_refused_by_name(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_ipc_path_is_limited_in_bytes_not_characters() -> None:
    assert parse("ipc:///" + "x" * 99).path
    with pytest.raises(EndpointError, match="101 bytes"):
        parse("ipc:///" + "x" * 100)
    with pytest.raises(EndpointError, match="limit 100"):
        parse("ipc:///" + "é" * 50)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("*", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://[::]:1", "tcp://gpu:1"])
def test_listening_for_other_hosts_needs_keys(text: str) -> None:
    with pytest.raises(EndpointError, match="without CURVE keys"):
        check_listen(parse(text), has_keys=False)
    check_listen(parse(text), has_keys=True)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:*", "tcp://*:80"])
def test_connecting_needs_one_host_and_port(text: str) -> None:
    with pytest.raises(EndpointError, match="no single host and port"):
        check_connect(parse(text))


def test_connecting_to_a_full_address_is_fine() -> None:
    check_connect(parse("tcp://127.0.0.1:80"))
    check_connect(parse("ipc:///nowhere"))


def test_ipc_path_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    endpoint = Endpoint("ipc", path=str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(EndpointError, match="already in use"):
            check_listen(endpoint, has_keys=False)
    check_listen(endpoint, has_keys=False)


def test_ipc_path_must_be_usable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EndpointError, match="no socket"):
        check_listen(Endpoint("ipc", path=str(tmp_path / "file")), has_keys=False)
    with pytest.raises(EndpointError, match="no directory"):
        check_listen(Endpoint("ipc", path=str(tmp_path / "none" / "s")), has_keys=False)
    check_listen(Endpoint("ipc", path=str(tmp_path / "free")), has_keys=False)
