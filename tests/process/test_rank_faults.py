"""Each rank is killed, stopped and continued, or fails, at each phase, under a client's request.

After each the request has ended once, with the text of an undisturbed run; the next is right; and
no process and no socket is left. Without an engine: ``test_group_faults``.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from neuron_runtime.launcher import Launcher
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.living import alive
from tests.process.engine_process import EngineDaemon, Stream
from tests.process.neuron import WAIT_S, Neuron
from tests.process.tenant import Tenant
from tests.process.test_engine import SLOW_S, ask, assert_undisturbed
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from transports.link import Completed
from transports.schemas.group import InjectFault
from transports.schemas.link import Drain, Drained

pytestmark = pytest.mark.process

KILL, STOP, FAIL = "kill-rank", "stop-rank", "oom"
RANKS = pytest.mark.parametrize("rank", [0, 1])
FAULTS = pytest.mark.parametrize("fault", [KILL, STOP, FAIL])
SERVING = pytest.mark.parametrize("phase", ["idle", "before", "inside", "replied"])


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("model"), words=FAKE_WORDS)


@pytest.fixture(scope="module")
def neuron(copier: Launcher) -> Iterator[Neuron]:
    eventually(lambda: copier.fork_server is not None, WAIT_S)
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        neuron = Neuron(Path(directory), Tenant(copier))
        yield neuron
        neuron.close()


def sockets(neuron: Neuron) -> list[str]:
    return sorted(path.name for path in neuron.directory.iterdir())


def children() -> set[int]:
    """Which processes live."""
    return {process.pid for process in alive(psutil.Process().children(recursive=True))}


@pytest.fixture
def daemon(neuron: Neuron, model_dir: Path) -> Iterator[EngineDaemon]:
    """An engine and its group; nothing is left of them in the end."""
    before = children()
    daemon = EngineDaemon(neuron, model_dir, 2, slow_s=SLOW_S)
    daemon.start_group()
    yield daemon
    daemon.close()
    eventually(lambda: children() <= before, WAIT_S)
    eventually(lambda: sockets(neuron) == [], WAIT_S)


def streaming(daemon: EngineDaemon) -> Stream:
    """A client's stream in its midst."""
    stream, _ = ask(daemon.client())
    eventually(lambda: len(stream.deltas) >= 5, WAIT_S)
    return stream


def state(daemon: EngineDaemon, rank: int) -> str:
    """The kernel's word on the process that has this rank now."""
    members = list(daemon.members.values())
    pids = [handle.pid for member, handle in members if member.rank == rank]
    return process_state(pids[0]) if pids else ""


def continue_stopped(daemon: EngineDaemon, rank: int) -> None:
    eventually(lambda: state(daemon, rank) == "T", WAIT_S)
    os.kill(daemon.handle(rank).pid, signal.SIGCONT)


def assert_recovered(daemon: EngineDaemon, stream: Stream, model_dir: Path, deaths: int) -> None:
    """The stream has not noticed, and so many groups had to be replaced for it."""
    assert_undisturbed(stream, model_dir)
    follower, _ = ask(daemon.client())
    assert_undisturbed(follower, model_dir)
    assert len(daemon.broken) == deaths
    epoch = 1 + deaths
    assert sockets(daemon.neuron) == ["daemon.ipc", f"group-{epoch}.ipc"]


@RANKS
@FAULTS
@SERVING
def test_while_it_serves(
    daemon: EngineDaemon, model_dir: Path, phase: str, fault: str, rank: int
) -> None:
    stream = streaming(daemon)
    daemon.tell(InjectFault(fault, phase, rank=rank))
    if fault == STOP:
        continue_stopped(daemon, rank)

    assert_recovered(daemon, stream, model_dir, deaths=int(fault != STOP))


@RANKS
@FAULTS
def test_while_it_starts(daemon: EngineDaemon, model_dir: Path, fault: str, rank: int) -> None:
    stream = streaming(daemon)
    daemon.tell(InjectFault(fault, "starting", rank=rank))
    daemon.handle(1).kill()
    if fault == STOP:
        continue_stopped(daemon, rank)

    # The group that died as it loaded had nothing of the request yet.
    assert_recovered(daemon, stream, model_dir, deaths=1 + (fault != STOP))


@RANKS
@FAULTS
def test_while_it_drains(daemon: EngineDaemon, model_dir: Path, fault: str, rank: int) -> None:
    stream = streaming(daemon)
    daemon.tell(InjectFault(fault, "draining", rank=rank))
    handles = [daemon.handle(each) for each in range(2)]
    drained = Stream()
    assert daemon.link is not None
    daemon.link.request(Drain(WAIT_S), drained, deadline_s=WAIT_S)

    assert_undisturbed(stream, model_dir)
    assert drained.ends.get(timeout=WAIT_S) == Completed(Drained())
    daemon.engine.stop()
    if fault == STOP:
        continue_stopped(daemon, rank)
    assert all(handle.exited.wait(WAIT_S) for handle in handles)
    assert daemon.broken == []
