"""A daemon does not carry what only commands for people need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cortex_actors.cli import cortexd, neurond
from cortex_actors.cli.serving import is_asked

ROOT = Path(__file__).parents[3]
ONLY_FOR_COMMANDS = {"httpx", "rich", "asyncio", "cortex_actors.cli.tables"}
READ_THE_CONFIGURATION = """
import sys
from cortex_actors.cli.{name} import main
from cortex_actors.{package} import daemon
assert main(["check", "--config-only", "-c", "conf/{config}"]) == 0
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "package", "config"),
    [("cortexd", "gateway", "cortex.yaml"), ("neurond", "neuron", "neuron.yaml")],
)
def test_a_daemon_imports_no_other_command(name: str, package: str, config: str) -> None:
    source = READ_THE_CONFIGURATION.format(name=name, package=package, config=config)
    ended = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert ONLY_FOR_COMMANDS.isdisjoint(ended.stdout.split())


@pytest.mark.parametrize("command", [["serve"], ["check", "--config-only"]])
def test_serving_and_checking_ask_for_nothing_else(command: list[str]) -> None:
    assert is_asked(command)
    assert not is_asked(["--help"])
    assert not is_asked([])


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (cortexd.main, "serve check status top explain models load unload plan pin keygen bench"),
        (neurond.main, "serve check devices chaos keygen"),
    ],
)
def test_help_lists_every_command(
    main: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main)
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out.split()
    assert set(words.split()) <= set(shown)
