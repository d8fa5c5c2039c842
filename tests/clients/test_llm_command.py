"""The ``llm`` command with our models in its extra-openai-models.yaml."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clients.askers import Refused, llm_command, llm_environment, run_llm
from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.questions import PIXEL
from tests.clients.scripts import GREETING, PERSON

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


@pytest.fixture
def environment(stack: ScriptedStack, tmp_path: Path) -> dict[str, str]:
    can = {"supports_tools": True, "supports_schema": True, "vision": True}
    return llm_environment(tmp_path, stack.url, MODEL, **can)


@pytest.mark.parametrize("more", [(), ("--no-stream",)])
def test_a_prompt_is_answered(environment: dict[str, str], more: tuple[str, ...]) -> None:
    assert run_llm(environment, *more, "Hi") == GREETING


def test_a_schema_is_kept(environment: dict[str, str]) -> None:
    answer = run_llm(environment, "--schema", "name, age int", "Ada, as JSON")

    assert json.loads(answer) == PERSON


def test_a_python_function_is_called_and_its_result_told(environment: dict[str, str]) -> None:
    tool = 'def get_weather(city: str, unit: str = "celsius") -> str:\n    return f"21 in {city}"\n'
    answer = run_llm(environment, "--functions", tool, "--td", "What is the weather in Paris?")

    assert answer.endswith("It is 21 degrees in Paris.")


def test_an_image_is_refused_in_words(environment: dict[str, str], tmp_path: Path) -> None:
    image = tmp_path / "pixel.png"
    image.write_bytes(base64.b64decode(PIXEL))
    with pytest.raises(Refused, match="image_url") as refused:
        run_llm(environment, "-a", str(image), "What is this?")
    assert refused.value.status == 400


def test_an_unknown_model_is_said_in_the_servers_words(
    stack: ScriptedStack, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"model 'nobody' does not exist") as refused:
        run_llm(llm_environment(tmp_path, stack.url, "nobody"), "Hi")
    assert refused.value.status == 404


def test_an_interrupted_command_frees_the_engine(
    environment: dict[str, str], stack: ScriptedStack
) -> None:
    with stack.one_cancelled():
        running = subprocess.Popen(
            llm_command("Count"), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        with running:
            assert running.stdout is not None
            assert running.stdout.read(4) == b"0 1 "
            running.send_signal(signal.SIGINT)
