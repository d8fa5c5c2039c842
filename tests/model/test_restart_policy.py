"""The restart policy against OTP's rules and, with events in any order, against its promises."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from cortex_actors.kit import supervision as s
from cortex_actors.kit.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason
from cortex_actors.kit.restart_policy import RestartPolicy
from cortex_actors.kit.restart_rules import Backoff, GiveUp, Restart, RestartRules, Strategy
from tests.model.naive_policies import MUTANTS
from tests.model.otp_oracle import OtpSupervisor
from tests.model.trials import holds, is_found_out

BAD_CONFIG = ExitReason(ExitKind.INIT_FAILED, "bad config")
NO_DEVICE = ExitReason(ExitKind.INIT_FAILED, "no device")
REASONS = [NORMAL, SHUTDOWN, ExitReason.crash("ValueError"), BAD_CONFIG, NO_DEVICE]
NAMES = ["a", "b", "c", "d"]

names = st.sampled_from(NAMES)
restarts = st.sampled_from(Restart)
reasons = st.sampled_from(REASONS)
failures = st.sampled_from([reason for reason in REASONS if reason.abnormal])
picks = st.integers(0, 1000)
backoffs = st.sampled_from([None, Backoff(1.0, 4.0, 8.0, jitter=0.0)])
limits = st.sampled_from([0, 1, 2, 3, 5, None, None])
grouped = st.builds(
    RestartRules, st.sampled_from(Strategy), limits, st.sampled_from([5.0, 20.0]), backoffs
)
alone = st.builds(
    RestartRules,
    st.just(Strategy.ONE_FOR_ONE),
    limits,
    st.just(5.0),
    backoffs,
    st.just(GiveUp.FAIL_CHILD),
)
children = st.lists(
    st.tuples(names, restarts), min_size=1, max_size=3, unique_by=lambda child: child[0]
)
rarely = st.integers(0, 19).map(lambda die: die == 7)
boot_failures = st.tuples(rarely, failures).map(lambda drawn: [drawn[1]] if drawn[0] else [])
no_failures: st.SearchStrategy[list[ExitReason]] = st.just([])
start_failures = no_failures | st.lists(failures, max_size=4)

MakePolicy = Callable[[RestartRules, Callable[[], float]], RestartPolicy]


class OtpMachine(RuleBasedStateMachine):
    """Every effect is carried out at once, as in OTP; then the actions have to be OTP's."""

    make: MakePolicy = RestartPolicy

    @initialize(rules=grouped | alone, first=children, failing=boot_failures)
    def boot(
        self, rules: RestartRules, first: list[tuple[str, Restart]], failing: list[ExitReason]
    ) -> None:
        self.policy = type(self).make(rules, lambda: 0.0)
        self.otp = OtpSupervisor(rules)
        self.attempts: dict[str, int] = {}
        self.did: list[tuple[str, object]] = []
        self.now = 0.0
        self.otp.failing = list(failing)
        if all(self.otp.add(name, restart) for name, restart in first):
            self.otp.did.append(("booted", ""))
        else:
            self.otp.end("init_failed")
        event = s.Boot(tuple(s.ChildAdded(name, restart) for name, restart in first))
        self._check(event, failing)

    @precondition(lambda self: any(child.up for child in self.otp.children.values()))
    @rule(pick=picks, reason=reasons, failing=start_failures)
    def a_child_exits(self, pick: int, reason: ExitReason, failing: list[ExitReason]) -> None:
        up = [child for child in self.otp.children.values() if child.up]
        child = up[pick % len(up)]
        event = s.Exited(child.name, self.attempts[child.name], reason)
        self.otp.failing = list(failing)
        self.otp.exit(child, reason)
        self._check(event, failing)

    @precondition(lambda self: not self._over)
    @rule(name=names, restart=restarts, failing=boot_failures)
    def a_child_is_added(self, name: str, restart: Restart, failing: list[ExitReason]) -> None:
        known = self.otp.children.get(name)
        if known is not None and self.policy.phases[name].value not in ("finished", "failed"):
            return
        self.otp.failing = list(failing)
        if not self.otp.add(name, restart):
            self.otp.forget(self.otp.children[name])
        self._check(s.ChildAdded(name, restart), failing)

    @precondition(lambda self: not self._over and self.otp.children)
    @rule(pick=picks, really=rarely)
    def a_child_is_removed(self, pick: int, *, really: bool) -> None:
        if not really:
            return
        child = list(self.otp.children.values())[pick % len(self.otp.children)]
        self.otp.stop([child], ending=True)
        self.otp.forget(child)
        self._check(s.ChildRemoved(child.name), [])

    @rule(dt=st.sampled_from([0.5, 5.0, 8.0, 30.0]))
    def time_passes(self, dt: float) -> None:
        self.now += dt
        self.otp.now = self.now

    @precondition(lambda self: not self._over)
    @rule(really=rarely)
    def it_is_stopped(self, *, really: bool) -> None:
        if really:
            self.otp.end("shutdown")
            self._check(s.StopRequested(SHUTDOWN), [])

    @property
    def _over(self) -> bool:
        return bool(self.did) and self.did[-1][0] == "end"

    def _check(self, event: s.Event, failing: list[ExitReason]) -> None:
        events: deque[s.Event] = deque([event])
        fate = deque(failing)
        while events:
            for effect in self.policy.handle(events.popleft(), self.now):
                events.extend(self._carry_out(effect, fate))
        assert self.did == self.otp.did
        assert self.now == self.otp.now

    def _carry_out(self, effect: s.Effect, fate: deque[ExitReason]) -> list[s.Event]:
        did: tuple[str, object]
        then: list[s.Event] = []
        match effect:
            case s.Start(name, attempt):
                did = ("start", name)
                self.attempts[name] = attempt
                started = s.Started(name, attempt)
                then = [s.Exited(name, attempt, fate.popleft()) if fate else started]
            case s.Stop(name, attempt):
                did = ("stop", name)
                then = [s.Exited(name, attempt, SHUTDOWN)]
            case s.Wait(wait, delay_s):
                did = ("wait", delay_s)
                self.now += delay_s
                then = [s.Waited(wait)]
            case s.Terminate(reason):
                did = ("end", reason.kind)
            case s.Booted():
                did = ("booted", "")
            case s.Forget(name) | s.Fail(name) | s.Abandon(name):
                did = (type(effect).__name__.lower(), name)
        self.did.append(did)
        return then


class InterleavedMachine(RuleBasedStateMachine):
    """Answers come late, in any order, or never; then the promises have to hold."""

    make: MakePolicy = RestartPolicy

    @initialize(rules=grouped | alone, first=children)
    def boot(self, rules: RestartRules, first: list[tuple[str, Restart]]) -> None:
        self.rules_ = rules
        self.policy = type(self).make(rules, lambda: 0.0)
        self.now = 0.0
        self.live: dict[tuple[str, int], str] = {}
        self.dead: list[tuple[str, int]] = []
        self.waits: list[int] = []
        self.wanted = [name for name, _ in first]
        self.last_attempt = 0
        self.booting, self.over = True, False
        self._feed(s.Boot(tuple(s.ChildAdded(name, restart) for name, restart in first)))

    @precondition(lambda self: "starting" in self.live.values())
    @rule(pick=picks)
    def a_start_succeeds(self, pick: int) -> None:
        attempt = self._pick(pick, "starting")
        self.live[attempt] = "up"
        self._feed(s.Started(*attempt))

    @precondition(lambda self: "starting" in self.live.values())
    @rule()
    def all_starts_succeed(self) -> None:
        while "starting" in self.live.values():
            self.a_start_succeeds(0)

    @precondition(lambda self: bool({"up", "stopping"} & set(self.live.values())))
    @rule(pick=picks, reason=reasons)
    def a_child_exits(self, pick: int, reason: ExitReason) -> None:
        self._exits(self._pick(pick, "up", "stopping"), reason)

    @precondition(lambda self: "starting" in self.live.values() and not self.booting)
    @rule(pick=picks, reason=failures)
    def a_start_fails(self, pick: int, reason: ExitReason) -> None:
        self._exits(self._pick(pick, "starting"), reason)

    @precondition(lambda self: self.dead)
    @rule(pick=picks, what=st.sampled_from([s.Started, s.Overdue, s.Exited]))
    def old_news_changes_nothing(self, pick: int, what: Any) -> None:
        name, attempt = self.dead[pick % len(self.dead)]
        crash = (ExitReason.crash("ValueError"),) if what is s.Exited else ()
        before = self.policy.phases
        assert self.policy.handle(what(name, attempt, *crash), self.now) == ()
        assert self.policy.phases == before

    @precondition(lambda self: self.live)
    @rule(pick=picks, really=rarely)
    def a_child_is_overdue(self, pick: int, *, really: bool) -> None:
        attempt = self._pick(pick, "starting", "up", "stopping")
        if really or self.live[attempt] == "stopping":
            self._feed(s.Overdue(*attempt))

    @precondition(lambda self: self.waits)
    @rule(pick=picks)
    def a_wait_is_over(self, pick: int) -> None:
        self._feed(s.Waited(self.waits.pop(pick % len(self.waits))))

    @rule(dt=st.sampled_from([0.5, 5.0, 8.0]))
    def time_passes(self, dt: float) -> None:
        self.now += dt

    @precondition(lambda self: not self.over)
    @rule(name=names, restart=restarts)
    def a_child_is_added(self, name: str, restart: Restart) -> None:
        phase = self.policy.phases.get(name)
        taken = phase is not None and phase.value not in ("finished", "failed")
        if taken:
            with pytest.raises(ValueError, match=name):
                self.policy.handle(s.ChildAdded(name), self.now)
            return
        if not self.policy.ending:
            self.wanted = [other for other in self.wanted if other != name] + [name]
        self._feed(s.ChildAdded(name, restart))

    @rule(name=names, really=rarely)
    def a_child_is_removed(self, name: str, *, really: bool) -> None:
        if really:
            self._feed(s.ChildRemoved(name))

    @rule(really=rarely)
    def it_is_stopped(self, *, really: bool) -> None:
        if really:
            self._feed(s.StopRequested(SHUTDOWN))
            assert self.policy.ending

    def teardown(self) -> None:
        """Once everything is answered it comes to rest: all that should run does, or it ended."""
        if not hasattr(self, "live"):
            return
        for _ in range(200):
            if "starting" in self.live.values():
                self.a_start_succeeds(0)
            elif "stopping" in self.live.values():
                self._exits(self._pick(0, "stopping"), SHUTDOWN)
            elif self.waits:
                self.a_wait_is_over(0)
            else:
                break
        at_rest = {"running", "finished", "failed"}
        assert self.over or {phase.value for phase in self.policy.phases.values()} <= at_rest
        assert self.over is self.policy.ending
        assert self.over or not self.booting

    def _pick(self, pick: int, *states: str) -> tuple[str, int]:
        among = [attempt for attempt, state in self.live.items() if state in states]
        return among[pick % len(among)]

    def _exits(self, attempt: tuple[str, int], reason: ExitReason) -> None:
        self._died(attempt)
        self._feed(s.Exited(*attempt, reason))

    def _died(self, attempt: tuple[str, int]) -> None:
        del self.live[attempt]
        self.dead.append(attempt)

    def _feed(self, event: s.Event) -> None:
        for effect in self.policy.handle(event, self.now):
            assert not self.over
            getattr(self, f"_on_{type(effect).__name__.lower()}")(effect)

    def _on_start(self, start: s.Start) -> None:
        assert start.attempt > self.last_attempt
        self.last_attempt = start.attempt
        assert not self.policy.ending
        assert start.child not in {name for name, _ in self.live}, "two incarnations at once"
        if self.rules_.strategy is not Strategy.ONE_FOR_ONE:
            assert not {"starting", "stopping"} & set(self.live.values()), "not one at a time"
        self.live[start.child, start.attempt] = "starting"

    def _on_stop(self, stop: s.Stop) -> None:
        attempt = (stop.child, stop.attempt)
        assert self.live.get(attempt) in ("starting", "up"), "stopped what does not run"
        if self.policy.ending:
            assert "stopping" not in [
                state for (name, _), state in self.live.items() if self._later(name, stop.child)
            ]
            assert not [name for name, _ in self.live if self._later(name, stop.child)], "order"
        self.live[attempt] = "stopping"

    def _later(self, name: str, than: str) -> bool:
        return self.wanted.index(name) > self.wanted.index(than)

    def _on_abandon(self, abandon: s.Abandon) -> None:
        assert self.live[abandon.child, abandon.attempt] in ("starting", "stopping")
        self._died((abandon.child, abandon.attempt))

    def _on_wait(self, wait: s.Wait) -> None:
        assert wait.delay_s > 0
        self.waits.append(wait.wait)

    def _on_forget(self, forget: s.Forget) -> None:
        assert forget.child not in {name for name, _ in self.live}

    def _on_fail(self, fail: s.Fail) -> None:
        assert fail.child not in {name for name, _ in self.live}

    def _on_booted(self, _: s.Booted) -> None:
        assert self.booting
        self.booting = False

    def _on_terminate(self, _: s.Terminate) -> None:
        assert not self.live, "children left behind"
        self.over = True


STEPS = 25


def machine_of(machine: type[RuleBasedStateMachine], make: MakePolicy) -> type[Any]:
    return type(machine.__name__, (machine,), {"make": make})


def test_actions_and_their_order_are_those_of_otp() -> None:
    holds(machine_of(OtpMachine, RestartPolicy), examples=150, steps=STEPS)


def test_promises_hold_whatever_the_order_of_events() -> None:
    holds(machine_of(InterleavedMachine, RestartPolicy), examples=150, steps=STEPS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_naive_policy_is_noticed(mutant: MakePolicy) -> None:
    machines = [machine_of(machine, mutant) for machine in (OtpMachine, InterleavedMachine)]
    is_found_out(*machines, steps=STEPS, by=(AssertionError,))


def test_there_are_mutants() -> None:
    assert len(MUTANTS) >= 12


def test_jitter_lengthens_the_wait_by_up_to_its_fraction() -> None:
    rules = RestartRules(intensity=None, backoff=Backoff(1.0, 3.0, 10.0, jitter=0.5))
    draws = itertools.cycle([1.0])
    policy = RestartPolicy(rules, lambda: next(draws))
    policy.handle(s.Boot((s.ChildAdded("a"),)), 0.0)
    delays = []
    for attempt in range(1, 4):
        policy.handle(s.Started("a", attempt), 0.0)
        wait, *_ = policy.handle(s.Exited("a", attempt, NORMAL), 0.0)
        assert isinstance(wait, s.Wait)
        delays.append(wait.delay_s)
        policy.handle(s.Waited(wait.wait), 0.0)
    assert delays == [1.5, 3.0, 4.5]


def test_children_that_restart_together_cannot_fail_alone() -> None:
    with pytest.raises(ValueError, match="one_for_all"):
        RestartRules(strategy=Strategy.ONE_FOR_ALL, give_up=GiveUp.FAIL_CHILD)
