"""kill -9 of the engine and of the daemons, under traffic, at each phase of a request.

After each: one terminal event for every request, the next answer is right, no orphan, no leftover.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.eventually import eventually
from tests.soak.checker import CENSUS, HONEST_CODES
from tests.soak.fleet import SoakFleet
from tests.soak.generator import Client, Manner
from tests.soak.history import End
from tests.soak.oracle import Question
from tests.soak.reading import Reading

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

READY_S = 60.0
GONE_S = 10.0
LONG, SHORT = 300, 8


class Stream(threading.Thread):
    """One long stream through a door; ``reading`` grows while it runs."""

    def __init__(self, doors: dict[str, str], door: str, number: int) -> None:
        super().__init__(name=f"stream-{number}", daemon=True)
        self.question = Question(f"stream {number}", LONG, None)
        self.reading = Reading()
        self._client = Client(doors)
        self._manner = Manner(door, streamed=True)
        self.start()

    def run(self) -> None:
        self._client.ask(self.question, self._manner, self.reading)
        self._client.close()


class Scene:
    """A fleet that serves, and what runs on it."""

    def __init__(self, directory: Path) -> None:
        self.fleet = SoakFleet(directory)
        self.doors = {name: f"{url}/v1/chat/completions" for name, url in self.fleet.urls.items()}
        self._numbers = iter(range(10_000))
        self.await_service()

    def stream(self, door: str) -> Stream:
        return Stream(self.doors, door, next(self._numbers))

    def answers(self, door: str) -> bool:
        """Whether the right answer comes through this door now."""
        client = Client(self.doors)
        question = Question(f"probe {next(self._numbers)}", SHORT, None)
        try:
            return client.ask(question, Manner(door, streamed=False)).text == question.answer()
        finally:
            client.close()

    def await_service(self) -> None:
        """Keep the daemons running until both doors answer rightly and every process is there."""

        def serves() -> bool:
            self.fleet.keep_up()
            return all(self.answers(door) for door in self.doors)

        eventually(serves, READY_S)
        eventually(lambda: self.fleet.census() == CENSUS, READY_S)

    def victim(self, role: str) -> psutil.Process:
        (process,) = self.fleet.processes()[role]
        return process


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="killed-", dir="/tmp") as directory:
        scene = Scene(Path(directory))
        yield scene
        assert set(scene.fleet.stop().values()) == {0}
        eventually(lambda: not scene.fleet.orphans(), GONE_S)
        assert scene.fleet.ipc_files() == ()


def _idle(scene: Scene) -> list[Stream]:
    del scene
    return []


def _just_asked(scene: Scene) -> list[Stream]:
    return [scene.stream("gateway"), scene.stream("neuron")]


def _queued(scene: Scene) -> list[Stream]:
    """More streams than the engine runs at once."""
    streams = [scene.stream("gateway") for _ in range(8)]
    eventually(lambda: sum(stream.reading.pieces > 0 for stream in streams) >= 5, READY_S)
    return streams


def _streaming(scene: Scene) -> list[Stream]:
    streams = _just_asked(scene)
    eventually(lambda: all(stream.reading.pieces >= 5 for stream in streams), READY_S)
    return streams


Begin = Callable[[Scene], list[Stream]]


def assert_each_ended_once(streams: list[Stream], *, may_be_cut: bool) -> None:
    """Whoever was hit was told so, or went on; nobody got a text that is not its own."""
    for stream in streams:
        stream.join(READY_S)
        assert not stream.is_alive(), "a request never ended"
        reading = stream.reading
        assert len(reading.ends) == 1, reading.ends
        assert not reading.late
        assert stream.question.answer().startswith(reading.text)
        match reading.ends[0]:
            case End.FINISHED:
                assert reading.text == stream.question.answer()
                assert reading.closing
            case End.FAILED:
                assert reading.detail in HONEST_CODES
                assert not reading.closing
            case end:
                assert (end, may_be_cut) == (End.CUT, True), reading.detail


@pytest.mark.parametrize("phase", [_idle, _just_asked, _queued, _streaming])
def test_the_engine(scene: Scene, phase: Begin) -> None:
    streams = phase(scene)
    engine = scene.victim("engine")
    engine.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=False)
    scene.await_service()
    assert scene.victim("engine").pid != engine.pid


@pytest.mark.parametrize("phase", [_idle, _streaming])
@pytest.mark.parametrize("role", ["neurond", "cortexd"])
def test_a_daemon(scene: Scene, role: str, phase: Begin) -> None:
    streams = phase(scene)
    daemon = scene.victim(role)
    family = daemon.children(recursive=True)
    daemon.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not any(_lives(process) for process in family), GONE_S)
    scene.await_service()


def test_a_daemon_that_drains(scene: Scene) -> None:
    streams = _streaming(scene)
    daemon = scene.victim("neurond")
    family = daemon.children(recursive=True)
    daemon.terminate()
    eventually(lambda: not scene.answers("neuron"), READY_S)
    daemon.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not any(_lives(process) for process in family), GONE_S)
    scene.await_service()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
