"""The official JavaScript packages, run by node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.clients.askers import JS, PACKAGES
from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.scripts import GREETING, PERSON, REPORT, WEATHER_CALL

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(90),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (PACKAGES / "node_modules").is_dir(),
        reason="the JavaScript packages are not installed (make .venv/tools, where npm is)",
    ),
]

CASE = {
    "model": MODEL,
    "script": {
        "greeting": GREETING,
        "report": REPORT,
        "weather": WEATHER_CALL["arguments"],
        "person": PERSON,
    },
}


@pytest.mark.parametrize("name", sorted(path.name for path in JS.glob("*.test.cjs")))
def test_the_packages_own_tests_pass(stack: ScriptedStack, name: str) -> None:
    with stack.one_cancelled():
        answer = subprocess.run(
            ["node", "--test", str(JS / name)],
            check=False,
            env={
                **os.environ,
                "CLIENTS_JS": str(PACKAGES),
                "CORTEX_URL": stack.url,
                "CASE": json.dumps(CASE),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=80,
        )

    assert answer.returncode == 0, answer.stdout[-4000:]
    assert "# pass 0" not in answer.stdout
