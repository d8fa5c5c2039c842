"""Fixtures of the command-line tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.unit.cli.fake_gateway import FakeGateway


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings out of the tests."""
    for name in [name for name in os.environ if name.startswith(("CORTEX__", "NEURON__"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        yield running


@pytest.fixture
def silent_url() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
    return f"http://127.0.0.1:{port}"
