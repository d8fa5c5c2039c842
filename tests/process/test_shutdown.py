"""How both daemons stop, by their own logs: in which order, within which deadlines, how in a hurry.

After each: one terminal event for every request, no process, no socket left.
"""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from neuron_runtime.exit_codes import ExitCode
from tests.eventually import eventually
from tests.living import alive
from tests.process.serving_fleet import READY_S, ServingFleet, Stream
from tests.process.shutdown_log import LATE, ORDER, last_stop, place, stages
from tests.process.test_killed_daemons import GONE_S, assert_each_ended_once

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

DAEMONS = ("neurond", "cortexd")
HURRIED = ("draining", "killing", "processes_gone", "sockets_closed", "stopped")


class Scene(ServingFleet):
    """A fleet whose daemons are told to stop while they stream."""

    def begin_stop(self, deaf: tuple[str, ...] = ()) -> tuple[list[Stream], list[psutil.Process]]:
        """Send both SIGTERM, after SIGSTOP to ``deaf``; return a stream through each door, and all.

        A stopped process hears of nothing but SIGKILL.
        """
        streams = [self.stream(door) for door in self.doors]
        eventually(lambda: all(stream.reading.pieces >= 5 for stream in streams), READY_S)
        family = [process for group in self.fleet.processes().values() for process in group]
        for role in deaf:
            self.victim(role).send_signal(signal.SIGSTOP)
        seen = [len(self.log(role).read_bytes()) for role in DAEMONS]
        self.terminate()
        for role, start in zip(DAEMONS, seen, strict=True):
            eventually(lambda: b"stage=draining" in self.log(role).read_bytes()[start:])  # noqa: B023
        return streams, family

    def terminate(self) -> None:
        """Send both daemons SIGTERM."""
        for role in DAEMONS:
            self.victim(role).terminate()

    def log(self, role: str) -> Path:
        """What this daemon and its children say."""
        return self.fleet.directory / f"{role}.log"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Scene]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="stopped-", dir="/tmp") as directory:
        yield Scene(Path(directory))


@pytest.fixture
def scene(fleet: Scene) -> Iterator[Scene]:
    """The fleet, which serves before each test and is gone after it."""
    fleet.await_service()
    yield fleet
    fleet.fleet.stop()
    eventually(lambda: not fleet.fleet.orphans(), GONE_S)
    assert fleet.fleet.ipc_files() == ()


def test_the_stages_come_in_their_order(scene: Scene) -> None:
    streams, family = scene.begin_stop()

    assert set(scene.fleet.codes().values()) == {ExitCode.OK}
    assert_each_ended_once(streams, may_be_cut=False)
    eventually(lambda: not alive(family), GONE_S)
    for role in DAEMONS:
        log = scene.log(role)
        assert stages(log) == ORDER[role]
        # Whoever was served was told the end before the front end went.
        assert place(log, r"cortex\.http request id=") < place(log, "child=front_end reason")
    # The engine knows of every end before its ranks are taken away.
    log = scene.log("neurond")
    ends = [line for line in last_stop(log) if " cortex.engine ended request=" in line]
    assert len(ends) == len(streams)
    told = place(log, r"cortex\.engine draining")
    assert told < place(log, re.escape(ends[-1])) < place(log, "child=model/soak/epoch")


@pytest.mark.parametrize(
    "deaf", [("rank1",), ("neuron arbiter", "gateway arbiter")], ids=["rank", "front ends"]
)
def test_whoever_is_deaf_is_killed_within_the_deadlines(
    scene: Scene, deaf: tuple[str, ...]
) -> None:
    streams, family = scene.begin_stop(deaf)

    assert set(scene.fleet.codes().values()) == {ExitCode.OK}
    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    for role in DAEMONS:
        log = scene.log(role)
        assert stages(log) == ORDER[role]
        assert not [line for line in last_stop(log) if LATE.search(line)]


def test_a_second_sigterm_kills_at_once(scene: Scene) -> None:
    # Without them the first might have done its work before the second comes.
    streams, family = scene.begin_stop(("rank1", "neuron arbiter", "gateway arbiter"))
    children = {daemon.pid: daemon.children() for daemon in map(scene.victim, DAEMONS)}
    scene.terminate()

    assert set(scene.fleet.codes().values()) == {ExitCode.INTERNAL}
    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    for role, killed in zip(DAEMONS, children.values(), strict=True):
        log = scene.log(role)
        assert [stage for stage in stages(log) if stage in HURRIED] == list(HURRIED)
        assert not [line for line in last_stop(log) if LATE.search(line)]
        # Each is reaped, not only sent a signal.
        for process in killed:
            end = place(log, rf"exited name=\S+ inc=\d+ pid={process.pid} .*SIGKILL")
            assert place(log, "stage=killing") < end < place(log, "stage=processes_gone")
