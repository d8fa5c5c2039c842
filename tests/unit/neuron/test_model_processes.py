"""Engine and group as a tree of real processes: what is replaced with what, and who is told."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.neuron_config import NeuronConfig, NeuronSettings
from cortex_actors.config.restart_settings import EngineRestart, GroupRestart, RestartSettings
from cortex_actors.kit import process_actor
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.messages import (
    ChildDown,
    ChildNote,
    ChildUp,
    DrainAsked,
    Drained,
    EngineEnded,
    EngineUp,
    EpochBroken,
    EpochEnded,
    EpochReady,
)
from cortex_actors.neuron.model_processes import ModelProcesses, Workplace
from cortex_actors.serving.drop_totals import DropTotals
from neuron_runtime.geometry import PlacementError
from neuron_runtime.model_errors import SourceNotFound
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.neuron.stub_processes import REAP_S, StubLauncher
from tests.unit.serving.doubles import Audience, FakeLink, Recorder
from transports.link import Completed
from transports.schemas import link as link_bodies
from transports.schemas.body import Body
from transports.schemas.daemon import (
    EngineLoad,
    EngineReady,
    GroupBroken,
    GroupReady,
    GroupStart,
    KillMember,
    MemberDown,
)
from transports.schemas.fleet import ModelSpec

pytestmark = pytest.mark.process
ENGINE, RANKS = "model/m/engine", ["model/m/rank0", "model/m/rank1"]


class Scene:
    """One model's processes as stubs; the engine's link is a fake one."""

    def __init__(
        self,
        start: Start,
        launcher: StubLauncher,
        directory: Path,
        settings: NeuronSettings | None = None,
        *,
        kv_mb: int = 0,
        vram_mb: int = 0,
    ) -> None:
        self.launcher = launcher
        self.registry = Registry()
        self.model = Audience(start(Recorder, name="model/m"))
        restart = RestartSettings(
            engine=EngineRestart(intensity=1, backoff_s=0.01),
            group=GroupRestart(intensity=2, backoff_s=0.01),
        )
        config = NeuronConfig(
            Path("neuron.yaml"), settings or NeuronSettings(), restart, (), Catalogue()
        )
        source = launcher.source()
        self.links = ChildLinks(source.mint.boot, DropTotals())
        workplace = Workplace(
            config, directory, "ipc:///none", source, self.links, self.registry, "fake"
        )
        spec = ModelSpec("m", "file:///m.gguf", kv_mb=kv_mb, vram_mb=vram_mb)
        self.processes = ModelProcesses(workplace, spec, ("cpu:0", "cpu:1"))
        self.tree = self.start_processes()

    def start_processes(self) -> ActorRef:
        tree = self.processes.start(Path("/model"), self.model.ref)
        assert tree.ready.wait(REAP_S)
        return tree

    @property
    def engine(self) -> ActorRef:
        return self.registry.find(ENGINE)

    def connect(self) -> FakeLink:
        """Be the engine process that has come up."""
        link = FakeLink()
        self.engine.notify(ChildUp(link))
        return link

    def say(self, body: Body) -> None:
        """Be the engine process that says something."""
        self.engine.notify(ChildNote(body))

    def kill(self, name: str) -> None:
        os.kill(self.launcher.latest(name).pid, signal.SIGKILL)

    def await_lives(self, name: str, lives: int) -> None:
        """Wait until this child has been started so many times."""
        eventually(lambda: len(self.launcher.spawned(name)) == lives, REAP_S)

    def group_start(self, link: FakeLink, epoch: int) -> GroupStart:
        """Wait until the engine has been told of this epoch."""
        eventually(lambda: any(start.epoch == epoch for start in starts(link)), REAP_S)
        return next(start for start in starts(link) if start.epoch == epoch)


def starts(link: FakeLink) -> list[GroupStart]:
    return [note for note in link.notes if isinstance(note, GroupStart)]


def incs(start: GroupStart) -> set[int]:
    return {member.inc for member in start.members}


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        yield Path(directory)


@pytest.fixture
def scene(start: Start, launcher: StubLauncher, directory: Path) -> Iterator[Scene]:
    scene = Scene(start, launcher, directory)
    yield scene
    scene.processes.stop()
    assert launcher.alive() == []


@pytest.mark.parametrize(
    ("config", "possible"),
    [
        ({"num_attention_heads": 9, "num_key_value_heads": 3}, "1, 3, 9"),
        ({"num_attention_heads": 8}, None),
        ({"text_config": {"num_attention_heads": 3}}, "1, 3"),
        ({"n_head": 9}, None),
    ],
)
def test_a_number_of_ranks_is_judged_by_the_heads_that_the_configuration_states(
    scene: Scene, tmp_path: Path, config: dict[str, Any], possible: str | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if possible is None:
        scene.processes.check(tmp_path)
    else:
        with pytest.raises(PlacementError, match=f"possible are {possible}$"):
            scene.processes.check(tmp_path)


def test_a_configuration_that_cannot_be_read_is_named(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"config\.json"):
        scene.processes.check(tmp_path)


def test_the_engine_is_told_of_the_whole_group_once_it_is_up(scene: Scene) -> None:
    start = scene.group_start(scene.connect(), 1)

    assert [(member.rank, member.device) for member in start.members] == [
        (0, "cpu:0"),
        (1, "cpu:1"),
    ]
    assert incs(start) == {scene.launcher.latest(name).inc for name in RANKS}


def test_a_dead_rank_takes_the_group_along_and_each_death_is_told_once(scene: Scene) -> None:
    link = scene.connect()
    first = scene.group_start(link, 1)
    scene.kill(RANKS[1])
    second = scene.group_start(link, 2)

    deaths = [note.inc for note in link.notes if isinstance(note, MemberDown)]
    assert sorted(deaths) == sorted(incs(first))
    assert [type(note) for note in link.notes] == [GroupStart, MemberDown, MemberDown, GroupStart]
    assert incs(first).isdisjoint(incs(second))
    assert first.endpoint != second.endpoint
    assert scene.model.next(EpochEnded).epoch == 1
    assert len(scene.launcher.spawned(ENGINE)) == 1


def test_no_rank_is_started_beside_a_former_one(scene: Scene) -> None:
    link = scene.connect()
    os.kill(scene.launcher.latest(RANKS[0]).pid, signal.SIGSTOP)
    scene.kill(RANKS[1])
    scene.group_start(link, 2)

    alive = scene.launcher.alive_at_spawn[3:]
    assert alive == [[ENGINE], [ENGINE, RANKS[0]]]


def test_a_dead_engine_takes_the_group_along(scene: Scene) -> None:
    former = scene.launcher.latest(ENGINE).inc
    scene.connect()
    scene.kill(ENGINE)
    scene.await_lives(RANKS[1], 2)
    start = scene.group_start(scene.connect(), 2)

    assert scene.model.next(EngineEnded).reason.startswith("killed")
    assert scene.launcher.latest(ENGINE).inc != former
    assert incs(start) == {scene.launcher.latest(name).inc for name in RANKS}
    assert RANKS[0] not in scene.launcher.alive_at_spawn[3]


def test_an_engine_that_could_not_begin_is_told_apart_from_one_that_died(scene: Scene) -> None:
    scene.launcher.mode = "exit:78"
    scene.kill(ENGINE)
    scene.await_lives(ENGINE, 2)

    assert not scene.model.next(EngineEnded).hopeless
    assert scene.model.next(EngineEnded).hopeless


def test_an_engine_whose_link_is_lost_is_replaced(scene: Scene) -> None:
    scene.connect()
    scene.engine.notify(ChildDown("silent", ""))

    assert scene.model.next(EngineEnded).reason.startswith("fenced")
    scene.await_lives(ENGINE, 2)


@pytest.mark.parametrize(
    ("of_model", "of_neuron", "used"), [(0, None, 0), (0, 64, 64), (32, 64, 32), (32, None, 32)]
)
def test_a_models_own_room_for_keys_and_values_goes_before_the_neurons(
    start: Start,
    launcher: StubLauncher,
    directory: Path,
    of_model: int,
    of_neuron: int | None,
    used: int,
) -> None:
    scene = Scene(start, launcher, directory, NeuronSettings(kv_mb=of_neuron), kv_mb=of_model)
    (engine,) = (spec for spec in launcher.specs if spec.name == ENGINE)
    scene.processes.stop()

    assert f"--kv-mb={used}" in engine.args


def test_an_engine_that_never_connects_is_replaced(
    start: Start, launcher: StubLauncher, directory: Path
) -> None:
    scene = Scene(start, launcher, directory, NeuronSettings(load_deadline_s=0.5))
    assert scene.model.next(EngineEnded).reason.startswith("stalled")
    scene.await_lives(ENGINE, 2)
    scene.processes.stop()
    assert launcher.alive() == []


@pytest.mark.parametrize(("vram_mb", "seconds"), [(0, 30.0), (500, 30.0), (40_000, 60.0)])
def test_a_large_model_may_take_longer_to_load(
    start: Start, launcher: StubLauncher, directory: Path, vram_mb: int, seconds: float
) -> None:
    settings = NeuronSettings(load_deadline_s=30.0)
    scene = Scene(start, launcher, directory, settings, vram_mb=vram_mb)
    assert scene.group_start(scene.connect(), 1).start_s == seconds
    scene.processes.stop()


def test_what_the_engine_reports_reaches_the_model(scene: Scene) -> None:
    scene.group_start(scene.connect(), 1)
    load = EngineLoad(1, 2, 3, 4)
    for body in (
        EngineReady("tcp://e", ("chat",)),
        GroupReady(1, 0.5, 9),
        GroupReady(7, 0.5, 9),
        load,
    ):
        scene.say(body)

    assert scene.model.next(EngineUp) == EngineUp("tcp://e", ("chat",))
    assert scene.model.next(EngineLoad) == load
    assert scene.model.next(EpochReady).ready.epoch == 1
    assert scene.model.heard(EpochReady) == []


def test_a_broken_epoch_is_replaced_and_a_former_one_is_not_believed(scene: Scene) -> None:
    link = scene.connect()
    scene.group_start(link, 1)
    scene.say(GroupBroken(7, "step_failed", "of another time"))
    scene.say(GroupBroken(1, "step_failed", "out of memory"))
    scene.group_start(link, 2)

    assert scene.model.next(EpochBroken).message == "out of memory"
    assert scene.model.heard(EpochBroken) == []


def test_the_engines_verdict_kills_that_rank_and_no_stranger(scene: Scene) -> None:
    link = scene.connect()
    start = scene.group_start(link, 1)
    judged = start.members[1]
    scene.say(KillMember(1, judged.slot, 4711, "silent"))
    scene.say(KillMember(1, judged.slot, judged.inc, "silent"))
    scene.group_start(link, 2)

    reasons = {note.inc: note.reason for note in link.notes if isinstance(note, MemberDown)}
    assert reasons[judged.inc].startswith("silent")


def test_a_rank_that_cannot_be_killed_ends_the_tree_and_is_never_doubled(
    start: Start, launcher: StubLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_actor, "KILL_WAIT_S", 0.05)
    monkeypatch.setattr(process_actor, "FORMER_WAIT_S", 0.05)
    launcher.unkillable = RANKS[1]
    scene = Scene(start, launcher, directory)
    link = scene.connect()
    judged = scene.group_start(link, 1).members[1]
    scene.say(KillMember(1, judged.slot, judged.inc, "stalled"))

    assert scene.tree.exit.wait(REAP_S)
    assert "model/m/rank1, pid" in str(scene.tree.exit.result())
    assert len(launcher.spawned(RANKS[1])) == 1
    # The engine is not left waiting for its answer.
    downs = {note.inc: note.reason for note in link.notes if isinstance(note, MemberDown)}
    assert "cannot be killed" in downs[judged.inc]
    scene.processes.stop()


def test_a_drain_is_over_when_the_engine_says_so_or_cannot(scene: Scene) -> None:
    scene.engine.notify(DrainAsked(0.5))
    scene.model.next(Drained)
    link = scene.connect()
    scene.engine.notify(DrainAsked(0.5))
    eventually(lambda: len(link.asked) == 1)
    body, answer = link.asked[0]
    assert body == link_bodies.Drain(0.5)
    assert scene.model.heard(Drained) == []

    answer(Completed(link_bodies.Drained()))
    scene.model.next(Drained)


def test_too_many_deaths_end_the_tree(scene: Scene) -> None:
    for lives in (1, 2):
        scene.await_lives(ENGINE, lives)
        scene.kill(ENGINE)

    assert scene.tree.exit.wait(REAP_S)
    assert "gave up restarting" in str(scene.tree.exit.result())
    assert scene.launcher.alive() == []
    assert scene.processes.engine is None


def test_stopping_leaves_no_process_no_file_and_no_name(scene: Scene, directory: Path) -> None:
    start = scene.group_start(scene.connect(), 1)
    Path(start.rendezvous.removeprefix("file://")).touch()
    scene.processes.stop()
    scene.processes.stop()

    assert scene.launcher.alive() == []
    assert list(directory.iterdir()) == []
    assert scene.registry.table().rows == ()
    assert scene.processes.engine is None


def test_a_reloaded_model_meets_nothing_of_its_former_life(scene: Scene) -> None:
    first = scene.group_start(scene.connect(), 1)
    scene.processes.stop()
    scene.start_processes()
    second = scene.group_start(scene.connect(), 1)

    assert first.endpoint != second.endpoint
    assert first.rendezvous != second.rendezvous
    assert incs(first).isdisjoint(incs(second))
