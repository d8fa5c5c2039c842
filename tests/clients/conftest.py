from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.fleet import ScriptedStack


@pytest.fixture(scope="package")
def stack() -> Iterator[ScriptedStack]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cx-") as directory:
        stack = ScriptedStack(Path(directory))
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
