"""Coding agents as their users run them: a tool of theirs is called and its result told.

They are large and not among what ``make test`` installs; ``make agents`` installs them and runs
this. One that is not there is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.scripts import call

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

AGENTS = Path(sys.prefix) / "agents"
CONTEXT = 1_000_000
"""Their instructions come to 80,000 of the scripted model's tokens, which are bytes."""
PROMPT_S = 90.0
WRITE, SHELL, REPORT = "Please write the file", "Please run the command", "All of it is done."


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cx-agent-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def agents_stack(workspace: Path) -> Iterator[ScriptedStack]:
    written, made = workspace / "written.txt", workspace / "made.txt"
    rules = {
        "": "Hello.",
        WRITE: call({"name": "Write", "arguments": {"file_path": str(written), "content": "ours"}}),
        SHELL: call({"name": "exec_command", "arguments": {"cmd": f"printf ours > {made}"}}),
        "<tool_response>": REPORT,
    }
    with tempfile.TemporaryDirectory(prefix="cx-") as directory:
        stack = ScriptedStack(Path(directory), rules, context=CONTEXT)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


def program(name: str) -> str:
    folders = (AGENTS / "node_modules" / ".bin", AGENTS / "bin")
    found = shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        pytest.skip(f"{name} is not installed; make agents does")
    return found


def run(workspace: Path, *command: str, **environment: str) -> str:
    home = workspace / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        command,
        check=False,
        cwd=workspace,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROMPT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_claude_code_writes_a_file(agents_stack: ScriptedStack, workspace: Path) -> None:
    said = run(
        workspace,
        program("claude"),
        *("-p", WRITE, "--allowedTools", "Write", "--output-format", "json"),
        ANTHROPIC_BASE_URL=agents_stack.url,
        ANTHROPIC_AUTH_TOKEN="none",
        ANTHROPIC_MODEL=MODEL,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=MODEL,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )

    result = json.loads(said)
    assert (result["result"], result["is_error"], result["num_turns"]) == (REPORT, False, 2)
    assert result["usage"]["input_tokens"] > 0
    assert (workspace / "written.txt").read_text() == "ours"


def test_codex_runs_a_command(agents_stack: ScriptedStack, workspace: Path) -> None:
    settings = {
        "model": MODEL,
        "model_provider": "cortex",
        "model_providers.cortex.name": "cortex",
        "model_providers.cortex.base_url": f"{agents_stack.url}/v1",
        "model_providers.cortex.wire_api": "responses",
    }
    said = run(
        workspace,
        program("codex"),
        *("exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check"),
        *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        SHELL,
    )

    assert said.strip() == REPORT
    assert (workspace / "made.txt").read_text() == "ours"


def test_aider_is_answered(agents_stack: ScriptedStack, workspace: Path) -> None:
    said = run(
        workspace,
        program("aider"),
        *("--model", f"openai/{MODEL}", "--no-git", "--yes-always", "--no-check-update"),
        *("--no-show-model-warnings", "--analytics-disable", "--message", "Hi"),
        OPENAI_API_BASE=f"{agents_stack.url}/v1",
        OPENAI_API_KEY="none",
    )

    assert "Hello." in said
