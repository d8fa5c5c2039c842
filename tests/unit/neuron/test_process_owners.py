"""Actors that own a process: neither outlives the other, and each death is told once."""

from __future__ import annotations

import os
import queue
import signal
import threading
from pathlib import Path
from typing import cast

import pytest

from cortex_actors.kit import process_actor
from cortex_actors.kit.process_actor import ProcessActor, ProcessSource
from cortex_actors.kit.reasons import ExitKind, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.engine_process import EngineProcess, EngineSettings
from cortex_actors.neuron.group_roster import GroupRoster
from cortex_actors.neuron.messages import (
    ChildDown,
    ChildNote,
    EngineRefused,
    KillAsked,
    MemberEnded,
    PreparationEnded,
    PreparationProgressed,
)
from cortex_actors.neuron.preparation import Preparation, PreparationSettings
from cortex_actors.neuron.tp_worker import RankSettings, TpWorker
from cortex_actors.serving.drop_totals import DropTotals
from neuron_runtime import exit_codes
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.last_act import LIMIT_S
from neuron_runtime.launcher import Launcher, ProcessExit, ProcessSpec, SpawnFailed
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.unit.kit.actors import Do
from tests.unit.kit.conftest import Start
from tests.unit.neuron.stub_processes import REAP_S, StubLauncher
from tests.unit.serving.doubles import Audience, Recorder, settle
from transports.failures import FailureCode
from transports.schemas.daemon import Prepared, PrepareProgress
from transports.schemas.link import Failure, Hello

pytestmark = pytest.mark.process


class Owner(ProcessActor):
    """Owns a stub."""

    judges_stopped = True

    def __init__(self, source: ProcessSource, grace_s: float = 0.0, term_s: float = 0.0) -> None:
        super().__init__(source, "stub")
        self.grace_s, self.term_s = grace_s, term_s
        self.told: list[ProcessExit] = []

    def on_start(self) -> None:
        self.spawn("stub", ())

    def process_ended(self, exit_: ProcessExit) -> None:
        self.told.append(exit_)

    def receive(self, message: object) -> object:
        assert isinstance(message, Do)
        return message.work(self)


def crash(_: object) -> None:
    raise KeyError("a bug")


def state_when_published(ref: ActorRef, pid: int) -> queue.SimpleQueue[str]:
    """Note the process's state at the moment when the actor's exit becomes known."""
    states: queue.SimpleQueue[str] = queue.SimpleQueue()
    ref.exit.on_done(lambda _: states.put(process_state(pid)))
    return states


def owner(start: Start, launcher: StubLauncher, *ladder: float) -> tuple[ActorRef, int]:
    ref = start(Owner, launcher.source(), *ladder, name="owner")
    assert ref.ready.wait(REAP_S)
    return ref, launcher.handles[-1].pid


@pytest.mark.parametrize("stop", [True, False], ids=["stopped", "crashed"])
@pytest.mark.parametrize("ladder", [(), (0.05, 0.05)], ids=["killed", "asked"])
def test_the_process_is_reaped_before_the_actors_end_is_known(
    start: Start, launcher: StubLauncher, stop: bool, ladder: tuple[float, ...]
) -> None:
    ref, pid = owner(start, launcher, *ladder)
    states = state_when_published(ref, pid)
    if stop:
        ref.stop()
    else:
        ref.tell(Do(crash))

    assert states.get(timeout=REAP_S) == ""
    assert ref.exit.result().abnormal is not stop


def test_a_stopped_process_is_ended_too(start: Start, launcher: StubLauncher) -> None:
    ref, pid = owner(start, launcher)
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: process_state(pid) == "T")
    states = state_when_published(ref, pid)
    ref.stop()

    assert states.get(timeout=REAP_S) == ""


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("exit:0", ExitKind.NORMAL),
        ("exit:70", ExitKind.CRASH),
        ("exit:71", ExitKind.PARENT_LOST),
        ("exit:78", ExitKind.INIT_FAILED),
    ],
)
def test_the_actor_ends_with_its_process_and_for_the_same_reason(
    start: Start, launcher: StubLauncher, mode: str, kind: ExitKind
) -> None:
    launcher.mode = mode
    ref, _ = owner(start, launcher)

    assert ref.exit.wait(REAP_S)
    assert ref.exit.result().kind is kind


def test_a_kill_from_outside_is_told_as_one(start: Start, launcher: StubLauncher) -> None:
    ref, pid = owner(start, launcher)
    os.kill(pid, signal.SIGKILL)

    assert ref.exit.wait(REAP_S)
    assert ref.exit.result() == ExitReason(ExitKind.KILLED, "killed by SIGKILL")


def test_a_judged_process_ends_with_the_verdict(start: Start, launcher: StubLauncher) -> None:
    ref, _ = owner(start, launcher)
    ref.tell(Do(lambda actor: actor.kill(exit_codes.ExitKind.SILENT)))

    assert ref.exit.wait(REAP_S)
    assert ref.exit.result().kind is ExitKind.SILENT


def test_a_process_that_stays_stopped_is_killed_as_stalled(
    start: Start, launcher: StubLauncher
) -> None:
    ref, pid = owner(start, launcher)
    os.kill(pid, signal.SIGSTOP)

    assert ref.exit.wait(2 * REAP_S)
    assert ref.exit.result().kind is ExitKind.STALLED
    assert process_state(pid) == ""


@pytest.mark.parametrize("judged", [True, False], ids=["judged", "stopped"])
def test_what_cannot_be_killed_has_no_successor_and_holds_nobody_up(
    start: Start, launcher: StubLauncher, monkeypatch: pytest.MonkeyPatch, judged: bool
) -> None:
    monkeypatch.setattr(process_actor, "KILL_WAIT_S", 0.05)
    monkeypatch.setattr(process_actor, "FORMER_WAIT_S", 0.05)
    source = launcher.source()
    launcher.unkillable = "stub"
    former = start(Owner, source, name="owner")
    assert former.ready.wait(REAP_S)
    if judged:
        former.tell(Do(lambda actor: actor.kill(exit_codes.ExitKind.STALLED)))
    else:
        former.stop()

    assert former.exit.wait(REAP_S)
    pid = launcher.handles[-1].pid
    if judged:
        assert former.exit.result() == ExitReason(ExitKind.FENCED, f"pid {pid} cannot be killed")
    successor = start(Owner, source, name="owner")
    assert successor.exit.wait(REAP_S)
    assert successor.exit.result().kind is ExitKind.INIT_FAILED
    assert f"pid {pid}, has not ended" in successor.exit.result().detail
    assert len(launcher.specs) == 1


def test_a_successor_waits_for_a_former_process_that_takes_its_time(
    start: Start, launcher: StubLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_actor, "KILL_WAIT_S", 0.05)
    source = launcher.source()
    launcher.unkillable = "stub"
    former = start(Owner, source, name="owner")
    former.stop()
    assert former.exit.wait(REAP_S)
    (slow,) = source.latest.values()
    successor = start(Owner, source, name="owner")
    assert not successor.ready.wait(0.05)
    assert len(launcher.specs) == 1

    launcher.unkillable = ""
    slow.exited.set()
    assert successor.ready.wait(REAP_S)
    assert len(launcher.specs) == 2


def test_every_life_has_an_incarnation_of_its_own(start: Start, launcher: StubLauncher) -> None:
    source = launcher.source()
    for _ in range(2):
        ref = start(Owner, source, name="owner")
        assert ref.ready.wait(REAP_S)
        ref.stop()
        assert ref.exit.wait(REAP_S)

    first, second = launcher.specs
    assert (first.slot, first.inc + 1) == (second.slot, second.inc)


class Rank:
    """A rank's actor, its process, and what its engine is told."""

    def __init__(self, start: Start, launcher: StubLauncher, directory: Path) -> None:
        self.engine = Audience(start(Recorder, name="engine"))
        roster = GroupRoster(directory, "g1", ("cpu:0",))
        roster.open_epoch()
        settings = RankSettings("m", 0, "fake", 0)
        self.ref = start(
            TpWorker, settings, roster, self.engine.ref, launcher.source(), name="rank0"
        )
        assert self.ref.ready.wait(REAP_S)
        self.handle = launcher.handles[-1]
        (self.member,) = roster.members

    def told(self, *, stopped: bool = False) -> list[str]:
        assert self.ref.exit.wait(REAP_S)
        ended = self.engine.heard(MemberEnded)
        assert {end.down.stopped for end in ended} == {stopped}
        assert {(end.down.epoch, end.down.slot, end.down.inc) for end in ended} == {
            (1, self.member.slot, self.member.inc)
        }
        return [end.down.reason for end in ended]


@pytest.fixture
def rank(start: Start, launcher: StubLauncher, tmp_path: Path) -> Rank:
    return Rank(start, launcher, tmp_path)


def test_a_ranks_death_is_told_to_its_engine_once(rank: Rank) -> None:
    os.kill(rank.handle.pid, signal.SIGKILL)

    assert rank.told() == ["killed (killed by SIGKILL)"]


def test_a_fenced_rank_is_told_once_and_only_when_it_is_gone(rank: Rank) -> None:
    rank.ref.stop()

    assert rank.told(stopped=True) == ["fenced: shutdown"]
    assert process_state(rank.handle.pid) == ""


@pytest.mark.parametrize(("device", "notice_s"), [("cuda:1", LIMIT_S), ("cpu:1", 0.0)])
def test_only_a_rank_on_cuda_has_notice_to_abort_its_collectives(
    start: Start, tmp_path: Path, device: str, notice_s: float
) -> None:
    kills: list[float] = []

    class Handle:
        pid = 0
        exited = threading.Event()

        def kill(self, _: object, notice_s: float) -> None:
            kills.append(notice_s)
            self.exited.set()

    class Fake:
        def spawn(self, _: object) -> object:
            return Handle()

    source = ProcessSource(cast("Launcher", Fake()), IncarnationMint(mint_boot()))
    roster = GroupRoster(tmp_path, "g1", ("cpu:0", device))
    roster.open_epoch()
    engine = start(Recorder, name="engine")
    settings = RankSettings("m", 1, "fake", 0)
    ref = start(TpWorker, settings, roster, engine, source, name="rank1")
    assert ref.ready.wait(REAP_S)
    ref.stop()

    assert ref.exit.wait(REAP_S)
    assert kills == [notice_s]


def test_a_death_that_meets_a_stop_is_told_once(rank: Rank) -> None:
    os.kill(rank.handle.pid, signal.SIGKILL)
    rank.ref.stop()
    assert rank.ref.exit.wait(REAP_S)

    assert len(rank.engine.heard(MemberEnded)) == 1


@pytest.mark.parametrize(
    ("word", "kind"), [("silent", "silent"), ("stalled", "stalled"), ("odd", "stalled")]
)
def test_the_engines_verdict_is_the_reason_of_the_death(rank: Rank, word: str, kind: str) -> None:
    rank.ref.notify(KillAsked(word))

    (reason,) = rank.told()
    assert reason.startswith(kind)


class Conversion:
    """A preparation's actor, its process, and what its model is told."""

    def __init__(self, start: Start, launcher: StubLauncher, directory: Path) -> None:
        self.model = Audience(start(Recorder, name="model"))
        source = launcher.source()
        settings = PreparationSettings("m", "file:///m.gguf", directory, "ipc:///none", 0)
        links = ChildLinks(source.mint.boot, DropTotals())
        self.ref = start(Preparation, settings, self.model.ref, links, source, name="preparation")
        assert self.ref.ready.wait(REAP_S)
        self.handle = launcher.handles[-1]

    def ended(self) -> PreparationEnded:
        os.kill(self.handle.pid, signal.SIGKILL)
        assert self.ref.exit.wait(REAP_S)
        (ended,) = self.model.heard(PreparationEnded)
        return ended


@pytest.fixture
def conversion(start: Start, launcher: StubLauncher, tmp_path: Path) -> Conversion:
    return Conversion(start, launcher, tmp_path)


def test_a_converter_reports_its_progress_and_its_end_once(conversion: Conversion) -> None:
    conversion.ref.notify(ChildNote(PrepareProgress(0.25, "weights")))
    assert conversion.model.next(PreparationProgressed).fraction == 0.25
    conversion.ref.notify(ChildNote(Prepared("/done")))

    assert conversion.ended() == PreparationEnded("/done", None)


def test_a_converter_that_fails_says_why(conversion: Conversion) -> None:
    failure = Failure(FailureCode.NO_DISK_SPACE, "the cache is full")
    conversion.ref.notify(ChildNote(failure))

    assert conversion.ended() == PreparationEnded("", failure)


def test_a_converter_that_dies_is_a_failed_load(conversion: Conversion) -> None:
    failure = conversion.ended().failure

    assert failure is not None
    assert failure.code == FailureCode.LOAD_FAILED
    assert "SIGKILL" in failure.message


def test_an_engine_that_refuses_its_model_is_heard_and_then_left_to_end(
    start: Start, launcher: StubLauncher, tmp_path: Path
) -> None:
    model = Audience(start(Recorder, name="model"))
    source = launcher.source()
    links = ChildLinks(source.mint.boot, DropTotals())
    settings = EngineSettings(
        "m", tmp_path, "tcp://*:*", "ipc:///none", "auto", "none", 1, 1, 1, 0, 60.0, None, None
    )
    ref = start(EngineProcess, settings, model.ref, links, source, name="engine")
    assert ref.ready.wait(REAP_S)
    failure = Failure(FailureCode.SOURCE_CORRUPT, "tokenizer.json is no tokenizer")
    ref.notify(ChildNote(failure))
    ref.notify(ChildDown("done", ""))

    assert model.next(EngineRefused).failure == failure
    settle(ref)
    assert process_state(launcher.handles[-1].pid)


def test_a_process_that_could_not_be_started_is_not_expected(start: Start, tmp_path: Path) -> None:
    class Broke:
        def spawn(self, spec: ProcessSpec) -> None:
            raise SpawnFailed(spec.name)

    source = ProcessSource(cast("Launcher", Broke()), IncarnationMint(mint_boot()))
    links = ChildLinks(source.mint.boot, DropTotals())
    model = start(Recorder, name="model")
    converter = PreparationSettings("m", "file:///m.gguf", tmp_path, "ipc:///none", 0)
    engine = EngineSettings(
        "m", tmp_path, "tcp://*:*", "ipc:///none", "auto", "none", 1, 1, 1, 0, 1.0, None, None
    )
    for ref in (
        start(Preparation, converter, model, links, source, name="preparation"),
        start(EngineProcess, engine, model, links, source, name="engine"),
    ):
        assert ref.exit.wait(REAP_S)
        assert ref.exit.result().kind is ExitKind.INIT_FAILED

    for slot, inc in ((1, 1), (2, 2)):
        hello = Hello(source.mint.boot, slot, inc, 1, "child", "child", 1, 1)
        assert links.admit(hello) == "unknown_incarnation"
