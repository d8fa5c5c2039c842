from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cortex_actors.kit.asking import Future
from cortex_actors.kit.child import Phase
from cortex_actors.kit.children import (
    ChildInfo,
    ChildSpec,
    StartChild,
    StopChild,
    WhichChildren,
)
from cortex_actors.kit.errors import ActorDead, ExpectedError
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import FENCED, SHUTDOWN, ExitKind, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.restart_rules import Backoff, GiveUp, Restart, RestartRules, Strategy
from cortex_actors.kit.supervisor import Supervisor
from tests.eventually import eventually
from tests.unit.kit.actors import SOON_S, Actor, Diary, Do, Echo, Gate, Raise, hold
from tests.unit.kit.conftest import Start

BOOM = Raise(ValueError("boom"))
OFTEN = RestartRules(intensity=None)


class Named(Actor):
    """Writes its life into a diary that it shares with its siblings."""

    def __init__(self, name: str, shared: Diary, slow: Gate | None = None) -> None:
        super().__init__()
        self.name = name
        self.shared = shared
        self.slow = slow

    def on_start(self) -> None:
        self.shared.entries.append(f"+{self.name}")
        if self.slow is not None:
            self.slow.hold()

    def on_stop(self, reason: ExitReason) -> None:
        self.shared.entries.append(f"-{self.name}")


class Fragile(Supervisor):
    @handles(Raise)
    def crash(self, message: Raise) -> None:
        raise message.error


def spec(name: str, shared: Diary, **kwargs: Any) -> ChildSpec:
    return ChildSpec(name, lambda: Named.start(name, shared, name=name), **kwargs)


def failing(error: BaseException) -> Callable[[], ActorRef]:
    def start() -> ActorRef:
        raise error

    return start


def children(supervisor: ActorRef) -> dict[str, ChildInfo]:
    infos: tuple[ChildInfo, ...] = supervisor.ask(WhichChildren(), SOON_S)
    return {info.id: info for info in infos}


def child(supervisor: ActorRef, name: str) -> ActorRef:
    ref = children(supervisor)[name].ref
    assert ref is not None
    return ref


def restarted(supervisor: ActorRef, name: str, times: int = 1) -> bool:
    info = children(supervisor)[name]
    return info.restarts == times and info.phase is Phase.UP


@pytest.fixture
def shared() -> Diary:
    return Diary()


def test_children_start_in_order_and_stop_in_reverse(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec(name, shared) for name in "abc"])
    assert supervisor.ready.wait(SOON_S)
    supervisor.stop()
    assert supervisor.exit.get(timeout=SOON_S) == SHUTDOWN
    assert shared.entries == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_the_next_child_waits_until_the_one_before_is_ready(start: Start, shared: Diary) -> None:
    gate = Gate()
    slow = ChildSpec("slow", lambda: Named.start("slow", shared, gate))
    supervisor = start(Supervisor, [slow, spec("next", shared)])
    assert gate.entered.wait(SOON_S)
    assert children(supervisor)["next"].phase is Phase.PENDING
    assert not supervisor.ready.done
    gate.opened.set()
    assert supervisor.ready.wait(SOON_S)
    assert shared.entries == ["+slow", "+next"]


def test_one_for_one_restarts_only_the_crashed_child(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec(name, shared) for name in "ab"])
    assert supervisor.ready.wait(SOON_S)
    old = child(supervisor, "a")
    old.tell(BOOM)
    eventually(lambda: restarted(supervisor, "a"))
    new = child(supervisor, "a")
    assert new.inc > old.inc
    assert new.ask(Echo(1), SOON_S) == 1
    assert shared.entries == ["+a", "+b", "-a", "+a"]


@pytest.mark.parametrize(
    ("strategy", "life"),
    [
        (Strategy.ONE_FOR_ALL, ["-b", "-c", "-a", "+a", "+b", "+c"]),
        (Strategy.REST_FOR_ONE, ["-b", "-c", "+b", "+c"]),
    ],
)
def test_a_group_is_stopped_in_reverse_and_started_in_order(
    start: Start, shared: Diary, strategy: Strategy, life: list[str]
) -> None:
    rules = RestartRules(strategy)
    supervisor = start(Supervisor, [spec(name, shared) for name in "abc"], rules)
    assert supervisor.ready.wait(SOON_S)
    shared.entries.clear()
    child(supervisor, "b").tell(BOOM)
    eventually(lambda: restarted(supervisor, "c"))
    assert shared.entries == life


def test_too_many_restarts_end_the_supervisor_abnormally(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec(name, shared) for name in "ab"], RestartRules(intensity=1))
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "b").tell(BOOM)
    eventually(lambda: restarted(supervisor, "b"))
    child(supervisor, "b").tell(BOOM)
    reason = supervisor.exit.get(timeout=SOON_S)
    assert reason.abnormal
    assert "gave up restarting b: crash(ValueError: boom)" in reason.detail
    assert shared.entries[-1] == "-a"


def test_giving_up_on_one_child_leaves_the_others_alone(start: Start, shared: Diary) -> None:
    given_up: Future[tuple[str, ExitReason]] = Future()

    class Models(Supervisor):
        def on_child_failed(self, child: str, reason: ExitReason) -> None:
            given_up.resolve((child, reason))

    registry = Registry()
    rules = RestartRules(intensity=0, give_up=GiveUp.FAIL_CHILD)
    specs = [spec(name, shared) for name in "ab"]
    supervisor = start(Models, specs, rules, registry=registry)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "a").tell(BOOM)
    crash = ExitReason.crash("ValueError", "boom")
    assert given_up.get(timeout=SOON_S) == ("a", crash)
    assert children(supervisor)["a"].phase is Phase.FAILED
    assert child(supervisor, "b").ask(Echo(1), SOON_S) == 1
    rows = {row.name: row for row in registry.table().rows}
    assert (rows["a"].state, rows["a"].detail) == ("failed", str(crash))
    assert rows["b"].state == "running"
    assert supervisor.ask(StartChild(spec("a", shared)), SOON_S).alive


def test_a_crash_ends_nested_supervisors_and_their_children(start: Start, shared: Diary) -> None:
    def inner() -> ActorRef:
        return Supervisor.start([spec("leaf", shared)], RestartRules(intensity=0), name="inner")

    outer = start(Supervisor, [ChildSpec("inner", inner), spec("sibling", shared)])
    assert outer.ready.wait(SOON_S)
    assert shared.entries == ["+leaf", "+sibling"]
    child(child(outer, "inner"), "leaf").tell(BOOM)
    eventually(lambda: restarted(outer, "inner"))
    assert shared.entries == ["+leaf", "+sibling", "-leaf", "+leaf"]


def test_a_failing_child_at_boot_is_an_init_failure_of_the_supervisor(
    start: Start, shared: Diary
) -> None:
    bad = ChildSpec("bad", failing(OSError("port in use")))
    supervisor = start(Supervisor, [spec("good", shared), bad, spec("never", shared)])
    reason = supervisor.exit.get(timeout=SOON_S)
    assert reason == ExitReason(ExitKind.INIT_FAILED, "bad: init_failed(OSError: port in use)")
    assert shared.entries == ["+good", "-good"]
    with pytest.raises(ActorDead, match="port in use"):
        supervisor.ready.get(timeout=SOON_S)


def test_a_constructor_that_raises_system_exit_harms_only_its_child(
    start: Start, shared: Diary
) -> None:
    supervisor = start(Supervisor, [spec("a", shared)])
    with pytest.raises(ExpectedError, match="bad did not start: init_failed"):
        supervisor.ask(StartChild(ChildSpec("bad", failing(SystemExit(1)))), SOON_S)
    assert list(children(supervisor)) == ["a"]


def test_the_same_failure_to_start_twice_is_not_tried_again(start: Start, shared: Diary) -> None:
    attempts: list[int] = []

    def flaky() -> ActorRef:
        attempts.append(1)
        if len(attempts) > 1:
            raise ValueError("bad config")
        return Named.start("flaky", shared)

    supervisor = start(Supervisor, [ChildSpec("flaky", flaky)], OFTEN)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "flaky").tell(BOOM)
    assert "bad config" in supervisor.exit.get(timeout=SOON_S).detail
    assert len(attempts) == 3


def test_a_child_that_is_dead_before_it_is_monitored_has_a_reason_all_the_same(
    start: Start, shared: Diary
) -> None:
    attempts: list[int] = []

    class Broken(Actor):
        def on_start(self) -> None:
            raise OSError("no fork")

    def flaky() -> ActorRef:
        attempts.append(1)
        if len(attempts) == 1:
            return Named.start("flaky", shared)
        dead = Broken.start()
        assert dead.exit.wait(SOON_S)
        return dead

    supervisor = start(Supervisor, [ChildSpec("flaky", flaky)], OFTEN)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "flaky").tell(BOOM)
    assert "init_failed(OSError: no fork)" in supervisor.exit.get(timeout=SOON_S).detail
    assert len(attempts) == 3


def test_children_come_and_go(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor)
    ref = supervisor.ask(StartChild(spec("x", shared)), SOON_S)
    assert ref.ask(Echo(1), SOON_S) == 1
    with pytest.raises(ExpectedError, match=r"'x' already \(running\)"):
        supervisor.ask(StartChild(spec("x", shared)), SOON_S)
    assert supervisor.ask(StopChild("x"), SOON_S) is None
    assert not ref.alive
    assert supervisor.ask(StopChild("x"), SOON_S) is None
    assert children(supervisor) == {}


def test_a_slow_start_blocks_neither_the_supervisor_nor_its_other_children(
    start: Start, shared: Diary
) -> None:
    gate = Gate()
    supervisor = start(Supervisor)
    slow = ChildSpec("slow", lambda: Named.start("slow", shared, gate))
    asked = supervisor.ask_async(StartChild(slow), SOON_S)
    assert gate.entered.wait(SOON_S)
    assert supervisor.ask(StartChild(spec("quick", shared)), SOON_S).alive
    assert not asked.done
    gate.opened.set()
    assert asked.get(timeout=SOON_S).alive


def test_a_stop_during_a_slow_start_ends_both_and_answers_the_asker(
    start: Start, shared: Diary
) -> None:
    gate = Gate()
    supervisor = start(Supervisor)
    slow = ChildSpec("slow", lambda: Named.start("slow", shared, gate))
    asked = supervisor.ask_async(StartChild(slow), SOON_S)
    assert gate.entered.wait(SOON_S)
    supervisor.stop()
    eventually(lambda: supervisor.state == "running" and not asked.done)
    gate.opened.set()
    assert supervisor.exit.get(timeout=SOON_S) == SHUTDOWN
    with pytest.raises(ActorDead):
        asked.get(timeout=SOON_S)
    assert shared.entries == ["+slow", "-slow"]


def test_a_supervisor_that_is_ending_takes_no_new_children(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec("a", shared)])
    assert supervisor.ready.wait(SOON_S)
    gate = hold(child(supervisor, "a"))
    supervisor.stop()
    eventually(lambda: children(supervisor)["a"].phase is Phase.STOPPING)
    with pytest.raises(ExpectedError, match="is shutting down"):
        supervisor.ask(StartChild(spec("b", shared)), SOON_S)
    gate.opened.set()


def test_a_child_that_does_not_stop_is_abandoned(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec("stuck", shared, shutdown_s=0.01), spec("b", shared)])
    assert supervisor.ready.wait(SOON_S)
    stuck = child(supervisor, "stuck")
    gate = hold(stuck)
    supervisor.stop()
    assert supervisor.exit.get(timeout=SOON_S) == SHUTDOWN
    assert stuck.exit.result() == FENCED
    assert shared.entries == ["+stuck", "+b", "-b"]
    gate.opened.set()
    eventually(lambda: shared.entries[-1] == "-stuck")


def test_a_child_that_does_not_get_ready_is_abandoned(start: Start, shared: Diary) -> None:
    gate = Gate()
    slow = ChildSpec("slow", lambda: Named.start("slow", shared, gate), start_s=0.01)
    supervisor = start(Supervisor)
    with pytest.raises(ExpectedError, match=r"not ready within 0\.01 s"):
        supervisor.ask(StartChild(slow), SOON_S)
    gate.opened.set()
    eventually(lambda: shared.entries == ["+slow", "-slow"])


def test_a_restart_waits_for_its_backoff(start: Start, shared: Diary) -> None:
    registry = Registry()
    rules = RestartRules(intensity=None, backoff=Backoff(60.0, 60.0, 1.0))
    supervisor = start(Supervisor, [spec("a", shared)], rules, registry=registry)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "a").tell(BOOM)
    eventually(lambda: children(supervisor)["a"].phase is Phase.WAITING)
    (row,) = registry.table().rows
    assert (row.state, row.detail) == ("backoff", "crash(ValueError: boom)")
    assert supervisor.summary() == "0/1 children up"
    supervisor.stop()
    assert supervisor.exit.get(timeout=SOON_S) == SHUTDOWN


def test_a_short_backoff_ends_in_a_restart(start: Start, shared: Diary) -> None:
    rules = RestartRules(intensity=None, backoff=Backoff(0.005, 0.005, 1.0))
    supervisor = start(Supervisor, [spec("a", shared)], rules)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "a").tell(BOOM)
    eventually(lambda: restarted(supervisor, "a"))


def test_a_transient_child_that_ends_well_stays_listed_as_finished(
    start: Start, shared: Diary
) -> None:
    specs = [spec("a", shared, restart=Restart.TRANSIENT)]
    supervisor = start(Supervisor, specs)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "a").tell(Do(lambda actor: actor.leave()))
    eventually(lambda: children(supervisor)["a"].phase is Phase.FINISHED)
    assert supervisor.ask(StartChild(specs[0]), SOON_S).alive


def test_a_temporary_child_is_forgotten(start: Start, shared: Diary) -> None:
    registry = Registry()
    specs = [spec("a", shared, restart=Restart.TEMPORARY)]
    supervisor = start(Supervisor, specs, registry=registry)
    assert supervisor.ready.wait(SOON_S)
    child(supervisor, "a").tell(BOOM)
    eventually(lambda: children(supervisor) == {})
    assert registry.table().rows == ()


def test_a_crashing_supervisor_leaves_no_child_behind(start: Start, shared: Diary) -> None:
    supervisor = start(Fragile, [spec(name, shared) for name in "ab"])
    assert supervisor.ready.wait(SOON_S)
    supervisor.tell(BOOM)
    assert supervisor.exit.get(timeout=SOON_S).kind is ExitKind.CRASH
    assert shared.entries == ["+a", "+b", "-b", "-a"]


def test_a_crashing_supervisor_abandons_a_stuck_child(start: Start, shared: Diary) -> None:
    supervisor = start(Fragile, [spec("stuck", shared, shutdown_s=0.01)])
    assert supervisor.ready.wait(SOON_S)
    gate = hold(stuck := child(supervisor, "stuck"))
    supervisor.tell(BOOM)
    assert supervisor.exit.get(timeout=SOON_S).kind is ExitKind.CRASH
    assert stuck.exit.result() == FENCED
    gate.opened.set()


def test_a_fenced_supervisor_stops_its_children(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec(name, shared) for name in "ab"])
    assert supervisor.ready.wait(SOON_S)
    supervisor.fence()
    eventually(lambda: shared.entries == ["+a", "+b", "-b", "-a"])


def test_two_hundred_restarts_leave_no_thread_behind(start: Start, shared: Diary) -> None:
    supervisor = start(Supervisor, [spec("a", shared)], OFTEN)
    assert supervisor.ready.wait(SOON_S)
    before = threading.active_count()
    for n in range(1, 201):
        child(supervisor, "a").tell(BOOM)
        eventually(lambda n=n: restarted(supervisor, "a", n))  # type: ignore[misc]
    eventually(lambda: threading.active_count() <= before)
