"""Engine and daemons that are stopped, killed or fail at an exact place, under traffic.

kill -9 of those that serve is in ``test_killed_daemons``. After each: one terminal event for every
request, the next answer is right, no orphan, no socket left. (Ranks share anonymous memory, which
goes with them.)
"""

from __future__ import annotations

import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.eventually import eventually
from tests.living import alive
from tests.process.serving_fleet import READY_S, SHORT, ServingFleet, Stream
from tests.process.shutdown_log import ORDER, stages
from tests.process.test_killed_daemons import GONE_S, assert_each_ended_once
from tests.process.traps import KILL, RAISE, STOP, Traps
from tests.soak.history import End
from tests.soak.oracle import MODEL

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

STEP_CLOSED = "neuron_runtime.engine.steps:Steps._closed"
DRAIN = "neuron_runtime.engine.engine:Engine.drain"
READ_MODEL = "neuron_runtime.engine_main:_read_model"
GRANT = "cortex_actors.serving.lease_table:LeaseTable.grant"
AT_START = {
    "tests.soak.neuron_process": "cortex_actors.neuron.tree:NeuronTree.start",
    "cortex_actors.cli.cortexd": "cortex_actors.gateway.tree:GatewayTree.start",
}
DAEMONS = ("neurond", "cortexd")
DOORS = ("neuron", "gateway")
HOWS = pytest.mark.parametrize("how", [KILL, STOP, RAISE])


class Scene(ServingFleet):
    """A fleet whose processes have traps."""

    def __init__(self, directory: Path, traps: Traps) -> None:
        self.traps = traps
        super().__init__(directory)

    def streams(self) -> list[Stream]:
        """One long stream through each door, in its midst."""
        streams = [self.stream(door) for door in DOORS]
        eventually(lambda: all(stream.reading.pieces >= 5 for stream in streams), READY_S)
        return streams

    def router(self, door: str) -> str:
        """What the router of this door's daemon says of itself."""
        answer = httpx.get(f"{self.fleet.urls[door]}/debug/actors", timeout=READY_S).json()
        (router,) = (row for row in answer["actors"] if row["name"] == "router")
        return str(router["detail"])

    def is_ready(self, door: str) -> bool:
        """Whether this door's front end says so."""
        return httpx.get(f"{self.fleet.urls[door]}/ready", timeout=READY_S).is_success

    def sockets(self) -> list[str]:
        """The local sockets that there are, without the numbers in a group's."""
        names = (Path(path).name for path in self.fleet.ipc_files())
        return sorted(re.sub(r"g\d+-\d+", "group", name) for name in names)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Scene]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="trapped-", dir="/tmp") as directory,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        traps = Traps(Path(directory))
        for name, value in traps.environment.items():
            monkeypatch.setenv(name, value)
        scene = Scene(Path(directory), traps)
        yield scene
        assert set(scene.fleet.stop().values()) == {0}
        eventually(lambda: not scene.fleet.orphans(), GONE_S)
        assert scene.fleet.ipc_files() == ()


@pytest.fixture
def scene(fleet: Scene) -> Iterator[Scene]:
    """The fleet, which serves after each test as before, and has not more than before."""
    fleet.traps.clear()
    yield fleet
    fleet.await_service()
    assert fleet.sockets() == ["children.ipc", "front.ipc", "front.ipc", "group.ipc"]


def stop(process: psutil.Process) -> None:
    process.send_signal(signal.SIGSTOP)
    await_stopped(process)


def await_stopped(process: psutil.Process) -> None:
    eventually(lambda: process.status() == psutil.STATUS_STOPPED)


def daemons(scene: Scene) -> list[psutil.Process]:
    return [scene.victim(role) for role in DAEMONS]


def families(scene: Scene) -> list[psutil.Process]:
    """All processes that there are."""
    return [process for group in scene.fleet.processes().values() for process in group]


def pids(processes: list[psutil.Process]) -> list[int]:
    return sorted(process.pid for process in processes)


def assert_undisturbed(streams: list[Stream]) -> None:
    assert_each_ended_once(streams, may_be_cut=False)
    assert [stream.reading.ends for stream in streams] == [[End.FINISHED]] * len(streams)


# -- stopped and continued ------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["engine", *DAEMONS])
def test_whoever_is_stopped_for_a_while_goes_on_where_it_was(scene: Scene, role: str) -> None:
    before = pids(families(scene))
    streams = scene.streams()
    victim = scene.victim(role)
    stop(victim)
    # Asked while it is stopped.
    later = [scene.stream(door, SHORT) for door in DOORS]
    if role != "engine":
        # No daemon is in a token's way.
        assert_undisturbed(streams)
    victim.send_signal(signal.SIGCONT)

    assert_undisturbed(streams + later)
    assert pids(families(scene)) == before


def test_supervisors_that_were_stopped_for_10_s_kill_nobody_and_lose_no_lease(
    scene: Scene,
) -> None:
    before = pids(families(scene))
    # The streams are to go on for longer than that.
    slow = {"model": MODEL, "fault": "slow-step", "phase": "inside", "times": 250, "seconds": 0.06}
    httpx.post(f"{scene.fleet.urls['neuron']}/chaos", json=slow, timeout=READY_S).raise_for_status()
    streams, both = scene.streams(), daemons(scene)
    for daemon in both:
        stop(daemon)
    at_stop = [stream.reading.pieces for stream in streams]
    threading.Event().wait(10.0)
    meanwhile = [stream.reading.pieces for stream in streams]
    assert not any(map(scene.is_ready, DOORS))
    for daemon in both:
        daemon.send_signal(signal.SIGCONT)

    assert all(there > then for there, then in zip(meanwhile, at_stop, strict=True))
    eventually(lambda: all(map(scene.is_ready, DOORS)))
    for door in DOORS:
        assert "leases=1 " in scene.router(door)
    assert_undisturbed(streams)
    for door in DOORS:
        eventually(lambda: "leases=0 " in scene.router(door))  # noqa: B023 - called at once
    assert pids(families(scene)) == before


# -- an exception ---------------------------------------------------------------------------------


def test_an_engine_that_fails_as_a_step_ends_is_replaced(scene: Scene) -> None:
    streams, engine = scene.streams(), scene.victim("engine")
    scene.traps.set(RAISE, STEP_CLOSED, within=[engine])

    assert scene.traps.caught() == [engine.pid]
    assert_undisturbed(streams)
    eventually(lambda: not alive([engine]), GONE_S)


def test_an_exception_in_an_idle_engine(scene: Scene) -> None:
    engine = scene.victim("engine")
    scene.traps.set(RAISE, within=[engine])

    assert scene.traps.caught() == [engine.pid]
    eventually(lambda: not alive([engine]), GONE_S)


def test_an_exception_in_the_main_thread_of_idle_daemons(scene: Scene) -> None:
    family = families(scene)
    scene.traps.set(RAISE, within=daemons(scene))

    scene.traps.caught(2)
    eventually(lambda: not alive(family), GONE_S)


def test_an_exception_in_an_actor_of_each_daemon(scene: Scene) -> None:
    streams, both = scene.streams(), daemons(scene)
    scene.traps.set(RAISE, GRANT, within=both)
    streams += [scene.stream(door, SHORT) for door in DOORS]

    assert scene.traps.caught(2) == pids(both)
    # What refers to the router is restarted with it, the front end that holds streams too.
    assert_each_ended_once(streams, may_be_cut=True)
    scene.await_service()
    assert daemons(scene) == both


# -- while starting -------------------------------------------------------------------------------


@HOWS
def test_an_engine_that_starts(scene: Scene, how: str) -> None:
    server = scene.victim("fork_server")
    scene.traps.set(how, READ_MODEL, within=[server])
    streams = scene.streams()
    scene.victim("engine").kill()

    (pid, *_) = scene.traps.caught()
    caught = psutil.Process(pid) if how == STOP else None
    scene.traps.clear([server])
    if caught is not None:
        await_stopped(caught)
        caught.send_signal(signal.SIGCONT)
    assert_each_ended_once(streams, may_be_cut=False)


@HOWS
def test_daemons_that_start(scene: Scene, how: str) -> None:
    scene.traps.set_at_start(how, AT_START)
    streams, family = scene.streams(), families(scene)
    for daemon in daemons(scene):
        daemon.kill()
    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    scene.fleet.keep_up()

    caught = scene.traps.caught(2)
    assert caught == sorted(scene.fleet.pids().values())
    scene.traps.clear()
    if how == STOP:
        for daemon in map(psutil.Process, caught):
            await_stopped(daemon)
            daemon.send_signal(signal.SIGCONT)
    scene.await_service()
    assert (caught == sorted(scene.fleet.pids().values())) == (how == STOP)


# -- while draining -------------------------------------------------------------------------------


@HOWS
def test_an_engine_that_drains(scene: Scene, how: str) -> None:
    streams, engine = scene.streams(), scene.victim("engine")
    scene.traps.set(how, DRAIN, within=[engine])
    url = f"{scene.fleet.urls['gateway']}/admin/unload"
    with ThreadPoolExecutor() as threads:
        unload = threads.submit(httpx.post, url, json={"model": MODEL}, timeout=READY_S)
        assert scene.traps.caught() == [engine.pid]
        if how == STOP:
            await_stopped(engine)
            engine.send_signal(signal.SIGCONT)
        assert unload.result(READY_S).status_code == httpx.codes.OK

    assert_each_ended_once(streams, may_be_cut=False)
    eventually(lambda: not alive([engine]), GONE_S)


@HOWS
def test_daemons_that_drain(scene: Scene, how: str) -> None:
    streams, family, both = scene.streams(), families(scene), daemons(scene)
    for daemon in both:
        daemon.terminate()
    eventually(lambda: not any(map(scene.answers, DOORS)), READY_S)
    match how:
        case "stop":
            for daemon in both:
                stop(daemon)
            for daemon in both:
                daemon.send_signal(signal.SIGCONT)
        case "kill":
            for daemon in both:
                daemon.kill()
        case _:
            scene.traps.set(RAISE, within=both)

    assert_each_ended_once(streams, may_be_cut=True)
    eventually(lambda: not alive(family), GONE_S)
    if how == STOP:
        for role in DAEMONS:
            assert stages(scene.fleet.directory / f"{role}.log") == ORDER[role]
