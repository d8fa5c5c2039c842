"""kill -9 of the engine and of the daemons, under traffic, at each phase of a request.

After each: one terminal event for every request, the next answer is right, no orphan, no leftover.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.living import alive
from tests.process.serving_fleet import READY_S, ServingFleet, Stream
from tests.soak.checker import HONEST_CODES
from tests.soak.history import End

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

GONE_S = 10.0


@pytest.fixture(scope="module")
def scene() -> Iterator[ServingFleet]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="killed-", dir="/tmp") as directory:
        scene = ServingFleet(Path(directory))
        yield scene
        assert set(scene.fleet.stop().values()) == {0}
        eventually(lambda: not scene.fleet.orphans(), GONE_S)
        assert scene.fleet.ipc_files() == ()


def _idle(scene: ServingFleet) -> list[Stream]:
    del scene
    return []


def _just_asked(scene: ServingFleet) -> list[Stream]:
    return [scene.stream("gateway"), scene.stream("neuron")]


def _queued(scene: ServingFleet) -> list[Stream]:
    """More streams than the engine runs at once."""
    streams = [scene.stream("gateway") for _ in range(8)]
    eventually(lambda: sum(stream.reading.pieces > 0 for stream in streams) >= 5, READY_S)
    return streams


def _streaming(scene: ServingFleet) -> list[Stream]:
    streams = _just_asked(scene)
    eventually(lambda: all(stream.reading.pieces >= 5 for stream in streams), READY_S)
    return streams


Begin = Callable[[ServingFleet], list[Stream]]


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
def test_the_engine(scene: ServingFleet, phase: Begin) -> None:
    streams = phase(scene)
    engine = scene.victim("engine")
    engine.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=False)
    scene.await_service()
    assert scene.victim("engine").pid != engine.pid


@pytest.mark.parametrize("phase", [_idle, _streaming])
@pytest.mark.parametrize("role", ["neurond", "cortexd"])
def test_a_daemon(scene: ServingFleet, role: str, phase: Begin) -> None:
    streams = phase(scene)
    daemon = scene.victim(role)
    family = daemon.children(recursive=True)
    daemon.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    scene.await_service()


def test_a_daemon_that_drains(scene: ServingFleet) -> None:
    streams = _streaming(scene)
    daemon = scene.victim("neurond")
    family = daemon.children(recursive=True)
    daemon.terminate()
    eventually(lambda: not scene.answers("neuron"), READY_S)
    daemon.send_signal(signal.SIGKILL)

    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    scene.await_service()
