"""The ``llm`` command with our models in its extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.scripts import GREETING, PERSON

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


@pytest.fixture
def environment(stack: ScriptedStack, tmp_path: Path) -> dict[str, str]:
    entry = {
        "model_id": "cortex",
        "model_name": MODEL,
        "api_base": f"{stack.url}/v1",
        "supports_tools": True,
        "supports_schema": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump([entry]))
    # The model's package is a plugin of llm that needs a library which is not installed.
    return {**os.environ, "LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}


def llm(environment: dict[str, str], *arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "cortex", "--key", "none", *arguments],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.rstrip("\n")


@pytest.mark.parametrize("more", [(), ("--no-stream",)])
def test_a_prompt_is_answered(environment: dict[str, str], more: tuple[str, ...]) -> None:
    assert llm(environment, *more, "Hi") == GREETING


def test_a_schema_is_kept(environment: dict[str, str]) -> None:
    answer = llm(environment, "--schema", "name, age int", "Ada, as JSON")

    assert json.loads(answer) == PERSON


def test_a_python_function_is_called_and_its_result_told(environment: dict[str, str]) -> None:
    tool = 'def get_weather(city: str, unit: str = "celsius") -> str:\n    return f"21 in {city}"\n'
    answer = llm(environment, "--functions", tool, "--td", "What is the weather in Paris?")

    assert answer.endswith("It is 21 degrees in Paris.")
