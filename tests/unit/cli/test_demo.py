"""``make run``, with stand-ins for the daemons."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from cortex_actors.cli import demo
from tests.eventually import eventually

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]

# Ctrl-C may come when the standard library has just made a socket and nobody owns it yet.
interrupted_anywhere = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    holders = [socket.socket() for _ in range(4)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    (tmp_path / "models.yaml").write_text("models: [{id: tiny, source: 'hf://nobody/tiny'}]\n")
    (tmp_path / "neuron.yaml").write_text(
        "neuron:\n"
        f"  listen: 127.0.0.1:{ports[0]}\n"
        f"  link: tcp://127.0.0.1:{ports[1]}\n"
        "  cache_dir: cache\n"
        "default_models: [tiny]\n"
    )
    (tmp_path / "cortex.yaml").write_text(
        f"gateway: {{listen: '127.0.0.1:{ports[2]}', metrics_listen: '127.0.0.1:{ports[3]}'}}\n"
    )
    return tmp_path


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the daemons; the names of those started are in the returned list."""
    names: list[str] = []

    def stub(name: str, config: Path) -> tuple[str, ...]:
        names.append(name)
        return (sys.executable, "-m", "tests.unit.cli.stub_daemon", name, str(config))

    monkeypatch.setattr(demo, "serve_command", stub)
    monkeypatch.chdir(ROOT)
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path / "logs"))
    return names


def test_demo_shows_an_answer_and_leaves_nothing_behind(
    conf: Path, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--conf", str(conf), "--once"]) == 0
    assert started == ["neurond", "cortexd"]
    shown = capsys.readouterr().out
    assert "Starting the gateway: done in" in shown
    assert "tiny: Hello" in shown
    assert shown.count("curl") == 2
    assert _children() == []


def test_daemon_that_dies_is_named_with_its_last_words(
    conf: Path,
    started: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUB_FAULT", "cortexd dies")
    assert demo.main(["--conf", str(conf), "--once"]) == 3
    error = capsys.readouterr().err
    assert "demo: cortexd ended with exit code 3\n" in error
    assert "cortexd.log\nsomething is badly wrong" in error
    assert _children() == []


def test_model_that_fails_is_named_with_its_reason(
    conf: Path,
    started: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUB_FAULT", "model fails")
    assert demo.main(["--conf", str(conf), "--once"]) == 1
    assert "demo: tiny did not load: failed: no space" in capsys.readouterr().err
    assert _children() == []


def test_stream_that_breaks_is_a_failure(
    conf: Path,
    started: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STUB_FAULT", "stream breaks")
    assert demo.main(["--conf", str(conf), "--once"]) == 1
    assert "demo: no answer: the stream failed: worker died" in capsys.readouterr().err
    assert _children() == []


@interrupted_anywhere
def test_ctrl_c_stops_everything(conf: Path, started: list[str]) -> None:
    def press() -> None:
        eventually(lambda: len(_children()) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    code = demo.main(["--conf", str(conf)])
    finger.join(5)
    assert code == 0
    assert _children() == []


@interrupted_anywhere
def test_second_ctrl_c_kills_a_daemon_that_does_not_listen(
    conf: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAULT", "deaf")
    pressed = threading.Event()

    def press() -> None:
        eventually(lambda: len(_children()) == 2)
        while _children() and not pressed.wait(0.3):
            os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    demo.main(["--conf", str(conf)])
    pressed.set()
    finger.join(5)
    assert _children() == []


def test_problems_of_both_files_and_the_host_are_listed_and_nothing_starts(
    conf: Path, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (conf / "neuron.yaml").write_text("neuron: {divices: cpu}\n")
    listen = (conf / "cortex.yaml").read_text().split("'")[1]
    host, _, port = listen.partition(":")
    with socket.create_server((host, int(port))):
        assert demo.main(["--conf", str(conf)]) == 78
    error = capsys.readouterr().err
    assert "did you mean 'devices'?" in error
    assert f"cannot listen on {listen}: Address already in use" in error
    assert started == []


def _children() -> list[int]:
    return [child.pid for child in psutil.Process().children() if _is_stub(child)]


def _is_stub(process: psutil.Process) -> bool:
    try:
        return "tests.unit.cli.stub_daemon" in process.cmdline()
    except psutil.NoSuchProcess:  # a zombie counts as gone, too
        return False
