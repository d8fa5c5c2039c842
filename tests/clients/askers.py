"""One question through each of the clients that are tested, and what became of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import yaml
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

PACKAGES = Path(sys.prefix) / "clients-js"
"""Where the Makefile installs the JavaScript packages, as ``js/package-lock.json`` has them."""

JS = Path(__file__).parent / "js"
SDKS = ("openai", "anthropic")
PATIENCE_S = 50.0
LIMIT = 64

Ask = Callable[[str, str, str, int], str]
"""Asks the server at a URL: which model, what, how often to retry; returns the answer.

Raises:
    Refused: There is none.
"""


class Refused(Exception):
    """``name`` is the client's own class for it, where it shows one."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(f"{status} {name}: {message}")
        self.status = status
        self.name = name


def openai_python(url: str, model: str, text: str, retries: int) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=retries) as client:
        try:
            answer: Any = client.chat.completions.create(
                model=model, max_tokens=LIMIT, messages=_said(text)
            )
        except openai.APIStatusError as error:
            raise _refused(error) from error
    return str(answer.choices[0].message.content)


def anthropic_python(url: str, model: str, text: str, retries: int) -> str:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=retries) as client:
        try:
            answer: Any = client.messages.create(
                model=model, max_tokens=LIMIT, messages=_said(text)
            )
        except anthropic.APIStatusError as error:
            raise _refused(error) from error
    return str(answer.content[0].text)


def langchain_openai(url: str, model: str, text: str, retries: int) -> str:
    make: Any = ChatOpenAI
    chat = make(
        base_url=f"{url}/v1",
        api_key=SecretStr("none"),
        model=model,
        max_retries=retries,
        max_tokens=LIMIT,
    )
    try:
        return str(chat.invoke(text).content)
    except openai.APIStatusError as error:
        raise _refused(error) from error


def langchain_anthropic(url: str, model: str, text: str, retries: int) -> str:
    make: Any = ChatAnthropic
    chat = make(
        base_url=url, api_key="none", model_name=model, max_retries=retries, max_tokens=LIMIT
    )
    try:
        return str(chat.invoke(text).content)
    except anthropic.APIStatusError as error:
        raise _refused(error) from error


def javascript(package: str) -> Ask:
    def ask(url: str, model: str, text: str, retries: int) -> str:
        told = json.dumps({"package": package, "url": url, "model": model, "text": text})
        answer = subprocess.run(
            ["node", str(JS / "ask.cjs"), told, str(retries)],
            check=True,
            env={**os.environ, "CLIENTS_JS": str(PACKAGES)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        found: dict[str, Any] = json.loads(answer.stdout)
        if "error" in found:
            raise Refused(found["status"], found["error"], found["message"])
        return str(found["text"])

    return ask


def llm_environment(directory: Path, url: str, model: str, **more: Any) -> dict[str, str]:
    """Write what ``llm`` must know in ``directory``; the model's name there is ``cortex``."""
    entry = {"model_id": "cortex", "model_name": model, "api_base": f"{url}/v1", **more}
    (directory / "extra-openai-models.yaml").write_text(yaml.safe_dump([entry]))
    # The model's package is a plugin of llm that needs a library which is not installed.
    return {**os.environ, "LLM_USER_PATH": str(directory), "LLM_LOAD_PLUGINS": ""}


def llm_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "llm", "-m", "cortex", "--key", "none", *arguments]


def run_llm(environment: dict[str, str], *arguments: str) -> str:
    """Return what the command prints.

    Raises:
        Refused: It failed, and told which status the server had.
    """
    answer = subprocess.run(
        llm_command(*arguments),
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    if answer.returncode != 0:
        status = re.search(r"Error code: (\d+)", answer.stderr)
        assert status, answer.stderr
        raise Refused(int(status[1]), "", answer.stderr)
    return answer.stdout.rstrip("\n")


def llm(url: str, model: str, text: str, retries: int) -> str:
    del retries  # it has no setting for them; the openai package's are two
    with tempfile.TemporaryDirectory() as directory:
        environment = llm_environment(Path(directory), url, model)
        return run_llm(environment, "--no-stream", "-o", "max_tokens", str(LIMIT), text)


ASKERS: dict[str, Ask] = {
    "openai-python": openai_python,
    "anthropic-python": anthropic_python,
    "langchain-openai": langchain_openai,
    "langchain-anthropic": langchain_anthropic,
    "llm": llm,
}
if shutil.which("node") is not None and (PACKAGES / "node_modules").is_dir():
    # See test_javascript.py.
    ASKERS |= {
        "openai-javascript": javascript("openai"),
        "anthropic-javascript": javascript("@anthropic-ai/sdk"),
    }


def _said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def _refused(error: openai.APIStatusError | anthropic.APIStatusError) -> Refused:
    # LangChain's are derived from the packages' own.
    kinds = (each for each in type(error).__mro__ if each.__module__.startswith(SDKS))
    return Refused(error.status_code, next(kinds).__name__, error.message)
